"""Elastic Common Schema 9.4, https://www.elastic.co/docs/reference/ecs: an ``event.kind: alert`` for a data stream.

``event.id`` is the alert's own id, ``tocsin.uid`` the incident's; ``rule.id`` is what alerts are grouped by. Fields of
our own are under ``tocsin``, which the schema leaves to its users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from monitor.alerts.alert import IncidentMessage, Notice
from monitor.alerts.encode_tables import ATLAS_TECHNIQUES
from monitor.alerts.encoder import Encoder
from monitor.alerts.fit import Cut, fit
from monitor.alerts.one_line import listed
from monitor.alerts.reading import (
    acts,
    closing,
    fired,
    implicated,
    kind,
    pages,
    strongest_first,
    technique_page,
    title,
)

SCHEMA_VERSION: Final = "9.4.0"
DATASET: Final = "tocsin.incident"
FRAMEWORK: Final = "MITRE ATLAS"
MOST_RISK: Final = 100
RISK_PER_SEVERITY: Final = 10
EXPENDABLE: Final = (
    Cut("tocsin.implicated.events", 10),
    Cut("tocsin.evidence.top", 3),
    Cut("tocsin.implicated.sources", 10),
    Cut("tocsin.evidence", 5),
    Cut("tocsin.implicated.events"),
    Cut("tocsin.alternatives"),
    Cut("tocsin.evidence.top"),
    Cut("tocsin.evidence"),
    Cut("tocsin.trigger"),
    Cut("tocsin.detectors", 5),
    Cut("tocsin.implicated"),
    Cut("tocsin.action"),
    Cut("tocsin.detectors"),
    Cut("threat"),
)


@dataclass(frozen=True, slots=True)
class EcsEncoder:
    """``version`` is the product's; ``tocsin.truncated`` says what ``limit`` left no room for."""

    version: str
    limit: int

    def incident(self, message: IncidentMessage) -> bytes:
        """See `Encoder`."""
        head, fields = message.head, message.fields
        event = self._event(message.id, head.at, head.severity) | {
            "action": f"incident-{head.activity}",
            "start": _date(head.opened_at),
            "end": _date(head.at),
            "reason": title(message),
            # an alert is what somebody has to look at; a question to labellers, or what is over, is a state
            "kind": "alert" if pages(message) else "state",
        }
        document = {
            "@timestamp": _date(head.at),
            "message": head.summary,
            "tags": ["tocsin", head.family, head.status],
            "event": event,
            "rule": {"id": kind(message), "name": title(message), "category": head.family, "ruleset": "tocsin"},
            "service": {"name": head.model, "version": head.version, "type": "machine-learning-model"},
            "threat": _threat(fields.get("atlas", ())),
            "tocsin": {
                "uid": head.uid,
                "activity": head.activity,
                "status": head.status,
                "family": head.family,
                "hypothesis": fields.get("hypothesis"),
                "confidence": head.confidence,
                "last_known_good": fields.get("last_known_good"),
                "trigger": listed(implicated(message, "features")),
                "implicated": {name: implicated(message, name) for name in ("sources", "origins", "labels", "events")},
                "detectors": fired(message),
                "folded": fields.get("folded", 0),
                "close_reason": closing(message),
                "evidence": [dict(item) for item in strongest_first(fields.get("evidence", ()))],
                "alternatives": fields.get("alternatives", []),
                "action": acts(message),
            },
        }
        return self._fitted(document)

    def notice(self, notice: Notice) -> bytes:
        """See `Encoder`."""
        document = {
            "@timestamp": _date(notice.at),
            "message": notice.text,
            "tags": ["tocsin", "notice"],
            "event": self._event(notice.uid, notice.at, notice.severity)
            | {"kind": "alert", "action": "notice", "reason": notice.title},
            "rule": {"id": "notice", "name": notice.title, "category": "notice", "ruleset": "tocsin"},
            "tocsin": {"uid": notice.uid, "facts": listed(dict(notice.facts))},
        }
        return self._fitted(document)

    def _event(self, ident: str, at: float, severity: int) -> dict[str, Any]:
        return {
            "id": ident,
            "category": ["intrusion_detection"],
            "type": ["info"],
            "module": "tocsin",
            "dataset": DATASET,
            "provider": "tocsin",
            "created": _date(at),
            "severity": severity,
            "risk_score": min(MOST_RISK, severity * RISK_PER_SEVERITY),
        }

    def _fitted(self, document: dict[str, Any]) -> bytes:
        document |= {
            "ecs": {"version": SCHEMA_VERSION},
            "data_stream": {"type": "logs", "dataset": DATASET, "namespace": "default"},
            "observer": {"vendor": "Tocsin", "product": "Tocsin", "type": "model-monitor", "version": self.version},
        }
        return fit(_said(document), self.limit, EXPENDABLE, "tocsin.truncated")


def make(version: str, limit: int) -> Encoder:
    """The encoder; ``version`` is the product's, ``limit`` the greatest length of a body in bytes."""
    return EcsEncoder(version, limit)


def _said(document: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    cleaned = {name: _said(value) if isinstance(value, dict) else value for name, value in document.items()}
    return {name: value for name, value in cleaned.items() if value not in (None, "", [], {})}


def _threat(techniques: Sequence[str]) -> dict[str, Any]:
    if not techniques:
        return {}
    technique = {
        "id": list(techniques),
        "name": [ATLAS_TECHNIQUES.get(uid, uid) for uid in techniques],
        "reference": [technique_page(uid) for uid in techniques],
    }
    return {"framework": FRAMEWORK, "technique": technique}


def _date(at: float) -> str:
    """ISO 8601 with milliseconds, UTC.

    >>> _date(0.25)
    '1970-01-01T00:00:00.250Z'
    """
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
