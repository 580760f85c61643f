"""The seam to a SIEM's format: turns incidents and notices into one line."""

from __future__ import annotations

from typing import Protocol

from monitor.alerts.alert import IncidentMessage, Notice


class Encoder(Protocol):
    """One format. Each result is one line of characters that are seen, at most as long as the limit it was made with.

    What is JSON is ASCII. Whatever an incident's texts hold, receivers find the same fields.
    """

    def incident(self, message: IncidentMessage) -> bytes:
        """An incident; the same message gives the same bytes."""

    def notice(self, notice: Notice) -> bytes:
        """Something about the alerts themselves."""
