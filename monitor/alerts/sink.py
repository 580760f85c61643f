"""The seam to the SIEM: takes encoded alerts, or says whether trying again makes sense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class SinkRetryableError(Exception):
    """The receiver is away, slow or full: the same alerts may be sent again."""


class SinkPermanentError(Exception):
    """The receiver will never take these alerts; the message says which receiver and why."""


class Sink(Protocol):
    """One receiver. Used by one thread."""

    def send(self, alerts: Sequence[bytes]) -> None:
        """Deliver encoded alerts, in order, in bounded time. Raises `SinkRetryableError` or `SinkPermanentError`."""

    def close(self) -> None:
        """Free what is held; it can be used again afterwards."""
