"""The requests for labels that are open, read from the state on disk: also while a daemon holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from monitor.messages import VettingRequest
from monitor.state.checkpoint import latest_state

CHECKPOINTS: Final = "checkpoints"
"""Folder of the checkpoints, below state_dir."""


class OpenRequest(NamedTuple):
    """A request and the model that it is about."""

    model: str
    request: VettingRequest


def open_requests(state_dir: Path) -> list[OpenRequest]:
    """Those that the newest checkpoint holds open, oldest first. Raises `CheckpointError` where it is damaged."""
    state = latest_state(state_dir / CHECKPOINTS)
    path = state_dir / "vetting.ndjson"
    if state is None or not path.exists():
        return []
    desk = state["parts"]["teller"]["desk"]
    models = {row[0]: row[2] for row in desk["open"]} | {row[0]: row[1] for row in desk["rows"]["open"]}
    decoder = msgspec.json.Decoder(VettingRequest)
    # a last line without its end is being written
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    asked = {request.id: request for request in map(decoder.decode, whole.splitlines())}
    return [OpenRequest(models[ident], request) for ident, request in asked.items() if ident in models]
