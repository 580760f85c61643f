"""Where the loop's lines go besides its files: another stream, a Kafka topic. None of them may hold the loop up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from monitor.line_queue import LineQueue

log = structlog.get_logger()

RETRY_SECONDS: Final = 5.0


class Outlet(Protocol):
    """Where lines go."""

    def append(self, line: bytes) -> None:
        """Write one line, given without its end."""

    def flush(self) -> None:
        """Let readers see what was written."""


class Tee:
    """Writes every line to all outlets, in order."""

    def __init__(self, outlets: Sequence[Outlet]) -> None:
        self._outlets = outlets

    def append(self, line: bytes) -> None:
        """See `Outlet`."""
        for outlet in self._outlets:
            outlet.append(line)

    def flush(self) -> None:
        """See `Outlet`."""
        for outlet in self._outlets:
            outlet.flush()


class UndeliverableError(Exception):
    """A line that will never be taken, however often it is sent."""


class Background:
    """Hands lines on in a thread of its own: a reader that is slow, away or gone holds nothing up.

    ``send`` is called there with one line after the other; where it raises, the same line is sent again after
    ``retry_seconds``, unless it is `UndeliverableError`. ``dropped`` is told of each line that is given up, because it
    cannot be delivered or because too many wait.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[bytes], None],
        dropped: Callable[[int], None],
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._name = name
        self._send = send
        self._dropped = dropped
        self._retry_seconds = retry_seconds
        self._lines = LineQueue(name, dropped)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tocsin-{name}", daemon=True)
        self._thread.start()

    def append(self, line: bytes) -> None:
        """See `Outlet`."""
        self._lines.put(line)

    def flush(self) -> None:
        """See `Outlet`: they are on their way."""

    def close(self, patience: float = 5.0) -> None:
        """Send what waits, for ``patience`` seconds at most."""
        self._stopping.set()
        self._thread.join(patience)
        if self._thread.is_alive() or len(self._lines):
            log.warning("leaving with unsent lines", outlet=self._name)

    def _run(self) -> None:
        while not (self._stopping.is_set() and not len(self._lines)):
            line = self._lines.get()
            if line is not None and not self._deliver(line):
                return

    def _deliver(self, line: bytes) -> bool:
        """Whether to go on with the next line."""
        while True:
            try:
                self._send(line)
            except UndeliverableError as error:
                self._dropped(1)
                log.warning("a line was dropped", outlet=self._name, reason=str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is said, and the thread lives on
                log.warning("lines cannot be sent", outlet=self._name, reason=f"{type(error).__name__}: {error}")
                if self._stopping.wait(self._retry_seconds):
                    self._dropped(1 + len(self._lines))
                    log.warning("leaving with unsent lines", outlet=self._name)
                    return False
                continue
            return True
