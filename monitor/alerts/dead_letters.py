"""Alerts that will never be taken, kept for a person: one line of JSON each, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import structlog

log = structlog.get_logger()

MOST_BYTES: Final = 10_485_760


class DeadLetters:
    """Appends to the file until it has ``most_bytes``; from then on they are only logged."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._most_bytes = most_bytes

    def put(self, content: bytes, reason: str) -> None:
        """Keep one; a disk that does not take it is said, and holds nothing up."""
        log.warning("an alert can never be sent", file=str(self._path), reason=reason)
        line = msgspec.json.encode({"reason": reason, "alert": content.decode(errors="replace")}) + b"\n"
        try:
            size = self._path.stat().st_size if self._path.exists() else 0
            if size + len(line) > self._most_bytes:
                log.warning("the file of dead letters is full: look through it and remove it", file=str(self._path))
                return
            with self._path.open("ab") as file:
                file.write(line)
        except OSError as error:
            log.warning("a dead letter was not kept", file=str(self._path), reason=str(error))
