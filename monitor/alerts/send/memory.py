"""Keeps alerts, for tests and for trying things out; it fails as it is told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from monitor.alerts.alert import Alert
from monitor.alerts.sink import Sink, SinkSurroundings
from monitor.settings.sink_sections import SinkConfig


class MemorySink:
    """A `Sink`. ``failures`` are raised one after the other before anything is taken; ``refused`` are ids never taken.

    ``looks`` counts the calls without alerts. ``unread`` is what `send` returns: how many may not have been read yet.
    """

    def __init__(self) -> None:
        self.received: list[Alert] = []
        self.failures: deque[Exception] = deque()
        self.refused: dict[str, Exception] = {}
        self.attempts = 0
        self.looks = 0
        self.unread = 0

    def send(self, alerts: Sequence[Alert]) -> int:
        """See `Sink`."""
        if alerts:
            self.attempts += 1
        else:
            self.looks += 1
        if self.failures and (alerts or self.unread):
            raise self.failures.popleft()
        if refused := next((alert.id for alert in alerts if alert.id in self.refused), None):
            raise self.refused[refused]
        self.received.extend(alerts)
        return self.unread

    def close(self) -> None:
        """See `Sink`: nothing is held."""


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:  # noqa: ARG001 - every sender is made so
    """The sink."""
    return MemorySink()
