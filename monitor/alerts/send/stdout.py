"""One line an alert on standard output, for a collector that reads the process's (containers, systemd)."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence
from typing import Final

from monitor.alerts.alert import Alert
from monitor.alerts.sink import Sink, SinkRetryableError, SinkSurroundings
from monitor.settings.sink_sections import SinkConfig

DESCRIPTOR: Final = 1
PATIENCE_SECONDS: Final = 5.0
"""How long a reader may leave a full pipe alone."""


class StdoutSink:
    """A `Sink`. A line of at most `select.PIPE_BUF` bytes is written at once; a torn one is ended, and sent again."""

    def __init__(
        self, descriptor: int, monotonic: Callable[[], float], patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._descriptor = descriptor
        self._monotonic = monotonic
        self._patience = patience_seconds
        self._torn = False

    def send(self, alerts: Sequence[Alert]) -> int:
        """See `Sink`."""
        until = self._monotonic() + self._patience
        for i, alert in enumerate(alerts):
            try:
                self._write((b"\n" if self._torn else b"") + alert.body + b"\n", until)
            except OSError as error:
                why = f"standard output cannot be written: {error.strerror or error}"
                raise SinkRetryableError(why, read=i) from error
        return 0

    def close(self) -> None:
        """See `Sink`: it is not ours to close."""

    def _write(self, line: bytes, until: float) -> None:
        """In parts that a pipe takes without waiting, once it takes anything."""
        rest = memoryview(line)
        while rest:
            _, ready, _ = select.select([], [self._descriptor], [], max(0.0, until - self._monotonic()))
            if not ready:
                raise TimeoutError(f"nobody reads it for {self._patience:g} s")
            rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]
            self._torn = bool(rest)


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:  # noqa: ARG001 - every sender is made so
    """The sink."""
    return StdoutSink(DESCRIPTOR, around.monotonic)
