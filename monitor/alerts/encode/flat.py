"""One level of JSON, for receivers that read no lists of objects, such as Wazuh: every value a text or a number.

Wazuh's decoder makes ``data.tocsin.family`` and so on of it, by which rules can ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from monitor.alerts.alert import IncidentMessage, Notice, grade
from monitor.alerts.encoder import Encoder
from monitor.alerts.fit import Cut, fit
from monitor.alerts.one_line import listed
from monitor.alerts.reading import acts, closing, fired, implicated, kind, pages, title

INTEGRATION: Final = "tocsin"
EXPENDABLE: Final = tuple(
    Cut(f"tocsin.{name}")
    for name in ("events", "decider", "sources", "origins", "labels", "trigger", "action", "detectors", "atlas")
)


@dataclass(frozen=True, slots=True)
class FlatEncoder:
    """``version`` is the product's; ``tocsin.truncated`` says what ``limit`` left no room for."""

    version: str
    limit: int

    def incident(self, message: IncidentMessage) -> bytes:
        """See `Encoder`."""
        head = message.head
        return self._document(
            {
                "alert_id": message.id,
                "uid": head.uid,
                "activity": head.activity,
                "status": head.status,
                "pages": "yes" if pages(message) else "no",
                "model": head.model,
                "version": head.version,
                "last_known_good": message.fields.get("last_known_good") or "",
                "family": head.family,
                "hypothesis": message.fields.get("hypothesis") or "",
                "kind": kind(message),
                "confidence": round(head.confidence * 100),
                "severity": head.severity,
                "grade": grade(head.severity),
                "opened_at": head.opened_at,
                "at": head.at,
                "title": title(message),
                "summary": head.summary,
                "trigger": listed(implicated(message, "features")),
                **{name: listed(implicated(message, name)) for name in ("sources", "origins", "labels", "events")},
                "action": "; ".join(acts(message)),
                "detectors": ",".join(fired(message)),
                "atlas": ",".join(message.fields.get("atlas", ())),
                "decider": message.fields.get("decider", ""),
                "folded": message.fields.get("folded", 0),
                "close_reason": closing(message),
            }
        )

    def notice(self, notice: Notice) -> bytes:
        """See `Encoder`."""
        return self._document(
            {
                "alert_id": notice.uid,
                "uid": notice.uid,
                "family": "notice",
                "kind": "notice",
                "severity": notice.severity,
                "grade": grade(notice.severity),
                "at": notice.at,
                "title": notice.title,
                "summary": notice.text,
                "facts": listed(dict(notice.facts)),
            }
        )

    def _document(self, values: dict[str, Any]) -> bytes:
        said = {name: value for name, value in values.items() if value != ""}
        document = {"integration": INTEGRATION, "product_version": self.version, "tocsin": said}
        return fit(document, self.limit, EXPENDABLE, "tocsin.truncated")


def make(version: str, limit: int) -> Encoder:
    """The encoder; ``version`` is the product's, ``limit`` the greatest length of a body in bytes."""
    return FlatEncoder(version, limit)
