"""Which incidents a state folder holds that are still open, read from what was published."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from monitor.messages import Incident

INCIDENTS: Final = "incidents.ndjson"
_INCIDENT: Final = msgspec.json.Decoder(Incident)


class IncidentsError(Exception):
    """Published incidents cannot be read; the message names file and line."""


def open_incidents(state: Path) -> list[Incident]:
    """The last message of every incident that is not closed, oldest first. Raises `IncidentsError`."""
    return [incident for incident in last_told(state) if incident.activity != "close"]


def last_told(state: Path) -> list[Incident]:
    """The last message of every incident, oldest incident first. Raises `IncidentsError`.

    A last line that is being written is not there yet.
    """
    if not state.is_dir():
        raise IncidentsError(f"{state}: is no folder; give the state_dir of the daemon that watches the model")
    path = state / INCIDENTS
    if not path.exists():
        return []
    last: dict[str, Incident] = {}
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        try:
            incident = _INCIDENT.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise IncidentsError(f"{path}: line {number}: is no incident: {error}") from error
        last[incident.uid] = incident
    return list(last.values())


def versions_named(incidents: list[Incident], model: str) -> set[str]:
    """The versions of a model that these incidents speak of: the watched one, its last known good, what was done."""
    named: set[str | None] = set()
    for incident in incidents:
        if incident.model == model:
            named |= {incident.version, incident.last_known_good, incident.first_poisoned}
            named |= {action.target for action in incident.action}
    return {version for version in named if version}
