"""Sends the audit log's signed checkpoint elsewhere: whoever cuts the log's end off cannot cut it off there as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from monitor.outlets import Outlet
from rollback.audit.log import checkpoint_of


class AuditCheckpoint:
    """Puts the checkpoint of the log at ``path`` out when it has changed; ``clock`` gives seconds since the epoch."""

    def __init__(self, path: Path, outlet: Outlet, clock: Callable[[], float]) -> None:
        self._file = checkpoint_of(path)
        self._outlet = outlet
        self._clock = clock
        self._sent = ""

    def __call__(self) -> None:
        """Send it once; nothing where it was sent before, or there is none. Raises `OSError`."""
        if not self._file.exists():
            return
        note = self._file.read_text(encoding="utf-8")
        if note != self._sent:
            self._outlet.append(msgspec.json.encode({"checkpoint": note, "at": self._clock()}))
            self._sent = note
