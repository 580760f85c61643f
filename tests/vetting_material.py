"""A daemon's state with open requests for labels, without a daemon."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from monitor.messages import VettingRequest
from monitor.row_vetting import RowDesk
from monitor.state.checkpoint import CheckpointStore


def request(ident: str = "flow-7", **changes: Any) -> VettingRequest:
    """A question about an event of model nids."""
    fields: dict[str, Any] = {
        "incident": "8f14e45fceea167a5a36dedd4bea2543",
        "id": ident,
        "why": "version 2 and version 1 disagree about it",
        "features": {"dst_port": 4444.0, "flags": "S0"},
        "scores": {"attack": 0.2, "benign": 0.8},
        "asked_at": 1767225700.5,
        "deadline": 1767484900.5,
        "ref": "https://pcap.example/flow-7",
        "model": "nids",
        "version": "2",
        **changes,
    }
    return VettingRequest(**fields)


def line(ident: str = "flow-7", **changes: Any) -> bytes:
    """A request as the loop writes it."""
    return msgspec.json.encode(request(ident, **changes))


def write_state(state_dir: Path, asked: Sequence[VettingRequest], answered: Sequence[str] = ()) -> None:
    """What a daemon leaves on disk that has asked for these, of which some were answered since."""
    state_dir.mkdir(parents=True, exist_ok=True)
    lines = [msgspec.json.encode(each) + b"\n" for each in asked]
    (state_dir / "vetting.ndjson").write_bytes(b"".join(lines))
    rows = [[r.id, r.incident, "nids", "2", 3, r.deadline] for r in asked if r.id not in answered]
    desk = {"open": rows, "asked": {}, "ever": {}, "rows": RowDesk({}).state()}
    with CheckpointStore(state_dir / "checkpoints") as store:
        store.save({"parts": {"teller": {"desk": desk}}})
