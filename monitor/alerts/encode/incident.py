"""`tocsin.incident.v1` as it is, for receivers that read it themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from monitor.alerts.alert import IncidentMessage, Notice
from monitor.alerts.encoder import Encoder
from monitor.alerts.fit import Cut, fit
from monitor.messages import Incident

EXPENDABLE: Final = (
    Cut("implicated.events", 10),
    Cut("evidence.top", 3),
    Cut("implicated.sources", 10),
    Cut("window.offsets", 10),
    Cut("implicated.events"),
    Cut("alternatives"),
    Cut("evidence.top"),
    Cut("implicated.features", 10),
    Cut("window.offsets"),
    Cut("evidence"),
    Cut("implicated"),
    Cut("action"),
    Cut("atlas"),
)
"""All of them may be missing in the published schema."""
KNOWN: Final = frozenset(Incident.__struct_fields__) | {"alert_id"}


@dataclass(frozen=True, slots=True)
class IncidentEncoder:
    """The incident's own fields, and ``alert_id``; ``truncated`` lists what ``limit`` left no room for."""

    limit: int

    def incident(self, message: IncidentMessage) -> bytes:
        """See `Encoder`."""
        document = {**message.fields, "alert_id": message.id}
        further = [Cut(name) for name in document if name not in KNOWN]
        return fit(document, self.limit, [*further, *EXPENDABLE], "truncated")

    def notice(self, notice: Notice) -> bytes:
        """A `tocsin.notice.v1`."""
        document = {
            "schema": "tocsin.notice.v1",
            "uid": notice.uid,
            "alert_id": notice.uid,
            "at": notice.at,
            "severity": notice.severity,
            "title": notice.title,
            "summary": notice.text,
            **notice.facts,
        }
        return fit(document, self.limit, [Cut(name) for name in notice.facts], "truncated")


def make(version: str, limit: int) -> Encoder:  # noqa: ARG001 - every format is made so; this one names no version
    """The encoder; ``limit`` is the greatest length of a body in bytes."""
    return IncidentEncoder(limit)
