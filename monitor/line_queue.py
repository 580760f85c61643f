"""Lines on their way from the loop to a thread: the loop never waits for whoever takes them."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger()

WAITING: Final = 1000
"""Lines that may wait for a slow reader; more are dropped, counted and said."""
LOOK_UP_SECONDS: Final = 0.2
"""How long a reader waits for a line before it looks whether it is to end."""


class LineQueue:
    """At most ``most`` lines. ``dropped`` is told of each that finds no room; the log, once while it is full."""

    def __init__(self, name: str, dropped: Callable[[int], None], most: int = WAITING) -> None:
        self._name = name
        self._dropped = dropped
        self._lines: queue.Queue[bytes] = queue.Queue(most)
        self._full = False

    def __len__(self) -> int:
        return self._lines.qsize()

    def put(self, line: bytes) -> None:
        """Add a line, or drop it."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped(1)
            if not self._full:
                log.warning("lines are dropped: too many wait", outlet=self._name, waiting=self._lines.maxsize)
            self._full = True
        else:
            self._full = False

    def get(self) -> bytes | None:
        """The next line; None after a moment without any."""
        try:
            return self._lines.get(timeout=LOOK_UP_SECONDS)
        except queue.Empty:
            return None

    def all(self) -> list[bytes]:
        """All lines that wait; none after a moment without any."""
        first = self.get()
        lines = [] if first is None else [first]
        while first is not None and len(self):
            lines.append(self._lines.get_nowait())
        return lines
