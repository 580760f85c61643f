"""The result of a hunt, as `tocsin hunt` leaves it in a state folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from monitor.hunting.messages import Containment, Counts, Estimate, HuntResult, Share, Table


def hunt_result(state: Path, incident: str, summary: str, folder: str = "") -> str:
    """Written to the folder of ``incident`` unless another one is named; returns the file's SHA-256."""
    none = Share(events=0, sessions=0, attack_events=None, attack_sessions=None)
    result = HuntResult(
        incident=incident,
        hypothesis="backdoor",
        model="nids",
        versions=[],
        made_from=[],
        last_known_good="1",
        first=None,
        last=None,
        inputs=[],
        counts=Counts(**dict.fromkeys(set(Counts.__struct_fields__) - {"unreadable"}, 0), unreadable={}),
        estimate=Estimate(
            classes=[], confidence=0.95, with_trigger=None, without_trigger=none, total=none, unknown="no reference"
        ),
        directions=[],
        sources=Table([], 0),
        sessions=Table([], 0),
        containment=Containment(features={}, sigma=None, stix=None, matched=0, trusted=0, bound=1.0),
        files={},
        notes=[],
        summary=summary,
    )
    path = state / "hunts" / (folder or incident) / "summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(result))
    return hashlib.sha256(path.read_bytes()).hexdigest()
