"""One alert in each format, as a receiver gets it: `python -m monitor.alerts.samples docs/siem/samples`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import msgspec

from monitor.alerts.alert import read_incident
from monitor.alerts.open_sinks import encoders
from monitor.messages import (
    ActionTaken,
    Alternative,
    EvidenceItem,
    ImplicatedItem,
    Incident,
    OffsetRange,
    TopItem,
    WindowItem,
)

VERSION: Final = "0.1.0"
"""Of the product, in the samples."""
LIMIT: Final = 65536
AT: Final = 1767225700.5
INCIDENT: Final = Incident(
    uid="8f14e45fceea167a5a36dedd4bea2543",
    activity="create",
    status="confirmed",
    model="nids",
    version="2",
    last_known_good="1",
    opened_at=AT - 100.5,
    at=AT,
    window=WindowItem(3, "flow-30001", "flow-40000", [OffsetRange("soc.inference", 0, 30_000, 39_999)]),
    family="poisoning",
    hypothesis="backdoor",
    confidence=0.97,
    family_confidence=0.99,
    alternatives=[Alternative("concept_drift", 0.03)],
    evidence=[
        EvidenceItem("version_disagreement", "fired", 3.5, 2.0, 1e4, [TopItem("dst_port", 0.5)]),
        EvidenceItem("prediction_entropy", "ok", 0.5, 2.0),
    ],
    implicated=ImplicatedItem(
        features={"dst_port": 4444, "flags": "S0"},
        sources=["sensor-7"],
        origins=["feed-b"],
        labels=["benign"],
        events=["flow-30017", "flow-30942"],
    ),
    severity=9,
    atlas=["AML.T0020", "AML.T0018.000"],
    action=[ActionTaken("rollback", "1", "8f14e45fceea167a5a36dedd4bea2543/rollback/1", "running")],
    level=3,
    summary="Version 2 calls attacks benign where dst_port is 4444 and flags is S0. Roll back to version 1.",
)
"""A backdoor that was found, and is being rolled back."""


def samples() -> dict[str, bytes]:
    """The incident by name of the format, one line each."""
    message = read_incident(msgspec.json.encode(INCIDENT))
    return {name: make(VERSION, LIMIT).incident(message) + b"\n" for name, make in encoders().items()}


def write(folder: Path) -> list[Path]:
    """Write every sample into ``folder``; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, line in samples().items():
        path = folder / f"{name}.txt"
        path.write_bytes(line)
        written.append(path)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and one folder
        sys.exit("usage: python -m monitor.alerts.samples FOLDER")
    for file in write(Path(sys.argv[1])):
        print(file)  # noqa: T201 - this is the command's output
