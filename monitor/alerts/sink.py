"""The seam to the SIEM: takes encoded alerts, or says whether trying again makes sense."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from monitor.alerts.alert import Alert


class SinkRetryableError(Exception):
    """The receiver is away, slow, full or set up wrongly: the same alerts may be sent again.

    ``read``: how many it has all the same, counted from the oldest that may not have been read. ``wait_seconds``: how
    long it asks to be left alone.
    """

    def __init__(self, message: str, *, read: int = 0, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.read = read
        self.wait_seconds = wait_seconds


class SinkPermanentError(Exception):
    """The receiver will never take these alerts; the message says which receiver and why.

    ``sent``, where it is known: how many of these were sent before the one that will never be taken.
    """

    def __init__(self, message: str, *, sent: int | None = None) -> None:
        super().__init__(message)
        self.sent = sent


class Sink(Protocol):
    """One receiver. Used by one thread."""

    def send(self, alerts: Sequence[Alert]) -> int:
        """Deliver alerts, in order, in bounded time; returns how many of those sent last may not have been read yet.

        `SinkRetryableError`: all that may not have been read, and these, are to be sent again, but for the ``read``
        oldest. `SinkPermanentError`: one of these will never be taken: the one after those ``sent``, which count as
        what may not have been read, and those behind it are to be sent again; without ``sent``, none of them was
        sent. What may not have been read stays as it was.
        Without alerts: look after the connection. This is called about every second while there is nothing to send.
        """

    def close(self) -> None:
        """Free what is held; it can be used again afterwards. `SinkRetryableError`: not all was seen to be read."""


@dataclass(frozen=True, slots=True)
class SinkSurroundings:
    """What a sender is given: this host's name, a clock that never goes back, and one since the epoch (seconds).

    ``heard`` is told what the receiver answers, in words without secrets, where it answers anything.
    """

    hostname: str
    monotonic: Callable[[], float]
    wall: Callable[[], float] = time.time
    heard: Callable[[str], None] = lambda _: None
