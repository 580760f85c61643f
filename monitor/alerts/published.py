"""What `incidents.ndjson` says of incidents: its last lines, and the newest message about some of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec


class _Named(msgspec.Struct):
    uid: str
    activity: str


CLOSE: Final = "close"
_named: Final = msgspec.json.Decoder(_Named).decode


def last_lines(path: Path, most_bytes: int) -> list[bytes]:
    """The whole lines at the end of a file, as far as they lie in its last ``most_bytes``."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        start = max(0, file.seek(0, 2) - most_bytes)
        file.seek(start)
        lines = file.read().split(b"\n")
    return lines[1 if start else 0 : -1]


def closes_of(path: Path, uids: Collection[str]) -> dict[str, bytes]:
    """The closes of those incidents of which nothing newer was published, by uid, in the order of the file."""
    found: dict[str, bytes] = {}
    if not uids or not path.exists():
        return found
    with path.open("rb") as file:
        for line in file:
            named = _read(line)
            if named is None or named.uid not in uids:
                continue
            found.pop(named.uid, None)
            if named.activity == CLOSE:
                found[named.uid] = line.rstrip(b"\n")
    return found


def _read(line: bytes) -> _Named | None:
    """None where it is no incident: the loop's business, and half a line at the end is usual."""
    try:
        return _named(line) if line.endswith(b"\n") else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
