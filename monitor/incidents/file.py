"""An incident as it was published: one JSON document, or a line of `incidents.ndjson`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from monitor.incidents.still_open import INCIDENTS
from monitor.messages import Incident

_INCIDENT: Final = msgspec.json.Decoder(Incident)


class IncidentFileError(Exception):
    """The incident cannot be read or found; the message says why, and what to do."""


def read_incident(path: Path) -> Incident:
    """The incident in a file: the document, or the last line of one with an incident per line.

    Raises `IncidentFileError`.
    """
    content = _content(path)
    try:
        return _INCIDENT.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        lines = _lines(content)
    try:
        return _INCIDENT.decode(lines[-1] if lines else b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IncidentFileError(f"{path}: is no tocsin.incident.v1: {error}") from error


def find_incident(place: Path, uid: str) -> Incident:
    """The newest message about an incident, in a file of them or a state folder. Raises `IncidentFileError`."""
    path = place / INCIDENTS if place.is_dir() else place
    found: Incident | None = None
    for number, line in enumerate(_content(path).splitlines(keepends=True), start=1):
        if uid.encode() not in line:
            continue
        try:
            incident = _INCIDENT.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if not line.endswith(b"\n"):
                break  # it is being written
            raise IncidentFileError(f"{path}: line {number}: is no incident: {error}") from error
        found = incident if incident.uid == uid else found
    if found is None:
        raise IncidentFileError(f"{path}: holds no incident {uid!r}; `uid` of its lines says which there are")
    return found


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IncidentFileError(f"{path}: cannot be read: {error.strerror}") from error


def _lines(content: bytes) -> list[bytes]:
    return [line for line in content.splitlines() if line.strip()]
