"""The seam to the SIEM: takes encoded alerts, or says whether trying again makes sense."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from monitor.alerts.alert import Alert


class SinkRetryableError(Exception):
    """The receiver is away, slow or full: the same alerts may be sent again."""


class SinkPermanentError(Exception):
    """The receiver will never take these alerts; the message says which receiver and why."""


class Sink(Protocol):
    """One receiver. Used by one thread."""

    def send(self, alerts: Sequence[Alert]) -> int:
        """Deliver alerts, in order, in bounded time; returns how many of those sent last may not have been read yet.

        `SinkRetryableError`: all that may not have been read, and these, are to be sent again. `SinkPermanentError`:
        one of these will never be taken; none of them was sent, and what may not have been read stays as it was.
        Without alerts: look after the connection. This is called about every second while there is nothing to send.
        """

    def close(self) -> None:
        """Free what is held; it can be used again afterwards. `SinkRetryableError`: not all was seen to be read."""


@dataclass(frozen=True, slots=True)
class SinkSurroundings:
    """What a sender is given: the name of this host, and a clock that never goes back (seconds)."""

    hostname: str
    monotonic: Callable[[], float]
