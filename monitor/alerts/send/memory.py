"""Keeps alerts, for tests and for trying things out; it fails as it is told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from monitor.alerts.alert import Alert
from monitor.alerts.sink import Sink, SinkPermanentError, SinkSurroundings
from monitor.settings.sink_sections import SinkConfig


class MemorySink:
    """A `Sink`. ``failures`` are raised one after the other before anything is taken; ``refused`` are ids never taken.

    A failure's ``read`` oldest alerts are taken all the same, and with ``says_which`` those before a refused one.
    ``looks`` counts the calls without alerts. ``unread`` is what `send` returns: how many may not have been read yet.
    """

    def __init__(self) -> None:
        self.received: list[Alert] = []
        self.failures: deque[Exception] = deque()
        self.refused: dict[str, Exception] = {}
        self.attempts = 0
        self.looks = 0
        self.says_which = False
        self.unread = 0

    def send(self, alerts: Sequence[Alert]) -> int:
        """See `Sink`."""
        if alerts:
            self.attempts += 1
        else:
            self.looks += 1
        if self.failures and (alerts or self.unread):
            failure = self.failures.popleft()
            self.received.extend(alerts[: getattr(failure, "read", 0)])
            raise failure
        for i, alert in enumerate(alerts):
            if alert.id in self.refused:
                raise self._refusal(alerts[:i], self.refused[alert.id])
        self.received.extend(alerts)
        return self.unread

    def _refusal(self, before: Sequence[Alert], why: Exception) -> Exception:
        if not self.says_which:
            return why
        self.received.extend(before)
        return SinkPermanentError(str(why), sent=len(before))

    def close(self) -> None:
        """See `Sink`: nothing is held."""


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:  # noqa: ARG001 - every sender is made so
    """The sink."""
    return MemorySink()
