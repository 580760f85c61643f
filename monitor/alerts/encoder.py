"""The seam to a SIEM's format: turns incidents and notices into one line of JSON."""

from __future__ import annotations

from typing import Protocol

from monitor.alerts.alert import IncidentMessage, Notice


class Encoder(Protocol):
    """One format. Each result is one line of JSON in ASCII, at most as long as the limit it was made with."""

    def incident(self, message: IncidentMessage) -> bytes:
        """An incident; the same message gives the same bytes."""

    def notice(self, notice: Notice) -> bytes:
        """Something about the alerts themselves."""
