"""OCSF 1.5.0 Detection Finding (class 2004), https://schema.ocsf.io/1.5.0/classes/detection_finding.

One ``finding_info.uid`` from create through update to close; ``metadata.uid`` is the alert's own id, the same when it
is sent again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from monitor.alerts.alert import IncidentMessage, Notice, grade
from monitor.alerts.encode_tables import (
    ACTIVITIES,
    ANALYTIC_TYPES,
    ATLAS_TECHNIQUES,
    ATLAS_VERSION,
    CONFIDENCES,
    LEARNING,
    OTHER,
    SEVERITIES,
    STATUSES,
    VERDICTS,
)
from monitor.alerts.encoder import Encoder
from monitor.alerts.fit import Cut, fit
from monitor.alerts.reading import fired, implicated, pages, strongest_first, technique_page, title

SCHEMA_VERSION: Final = "1.5.0"
CLASS_UID: Final = 2004
CATEGORY_UID: Final = 2
MAPPED: Final = frozenset(
    {"uid", "activity", "opened_at", "at", "summary", "evidence", "atlas", "model", "version", "confidence"}
)
"""The incident's fields that have a place in the schema; the others are under `unmapped`."""
MOST_OBSERVABLES: Final = 50
MODEL: Final = "Machine learning model"
EXPENDABLE: Final = (
    Cut("finding_info.desc"),
    Cut("anomaly_analyses"),  # evidences say it, too
    Cut("unmapped.implicated.events", 10),
    Cut("evidences.data.top", 3),
    Cut("observables", 10),
    Cut("unmapped.implicated.sources", 10),
    Cut("unmapped.window.offsets", 10),
    Cut("evidences", 5),
    Cut("unmapped.implicated.events"),
    Cut("finding_info.related_analytics"),
    Cut("unmapped.alternatives"),
    Cut("observables"),
    Cut("evidences.data.top"),
    Cut("unmapped.implicated.features", 10),
    Cut("evidences"),
    Cut("unmapped.implicated"),
    Cut("unmapped.action"),
    Cut("unmapped"),
    Cut("finding_info.attacks"),
)


@dataclass(frozen=True, slots=True)
class OcsfEncoder:
    """``version`` is the product's. Where ``limit`` leaves no room, `unmapped.truncated` lists what is missing."""

    version: str
    limit: int

    def incident(self, message: IncidentMessage) -> bytes:
        """See `Encoder`."""
        head, fields = message.head, message.fields
        document = {
            **self._base(message.id, head.activity, head.at, head.severity),
            **_status(head.status),
            **_confidence(head.confidence),
            "is_alert": pages(message),
            "message": head.summary,
            "start_time": _ms(head.opened_at),
            "end_time": _ms(head.at),
            "finding_info": _finding(message),
            "resources": [_model(head.model, head.version)],
            "evidences": [_evidence(item) for item in strongest_first(fields.get("evidence", ()))],
            "anomaly_analyses": _anomalies(message),
            "observables": _observables(implicated(message, "sources")),
            "unmapped": {name: value for name, value in fields.items() if name not in MAPPED},
        }
        document["metadata"]["correlation_uid"] = head.uid
        return fit({k: v for k, v in document.items() if v != []}, self.limit, EXPENDABLE, "unmapped.truncated")

    def notice(self, notice: Notice) -> bytes:
        """A finding of its own, opened and never closed."""
        document = {
            **self._base(notice.uid, "create", notice.at, notice.severity),
            **_status("confirmed"),
            "is_alert": True,
            "message": notice.text,
            "finding_info": {
                "uid": notice.uid,
                "title": notice.title,
                "created_time": _ms(notice.at),
                "analytic": _analytic("alert_delivery", "Rule"),
            },
            "unmapped": dict(notice.facts),
        }
        return fit(document, self.limit, EXPENDABLE, "unmapped.truncated")

    def _base(self, ident: str, activity: str, at: float, severity: int) -> dict[str, Any]:
        """What every event of the class has."""
        activity_id, activity_name = ACTIVITIES[activity]
        severity_id, severity_name = SEVERITIES[grade(severity)]
        return {
            "category_uid": CATEGORY_UID,
            "category_name": "Findings",
            "class_uid": CLASS_UID,
            "class_name": "Detection Finding",
            "activity_id": activity_id,
            "activity_name": activity_name,
            "type_uid": CLASS_UID * 100 + activity_id,
            "type_name": f"Detection Finding: {activity_name}",
            "time": _ms(at),
            "severity_id": severity_id,
            "severity": severity_name,
            "metadata": {
                "version": SCHEMA_VERSION,
                "uid": ident,
                "product": {"name": "Tocsin", "vendor_name": "Tocsin", "version": self.version},
            },
        }


def make(version: str, limit: int) -> Encoder:
    """The encoder; ``version`` is the product's, ``limit`` the greatest length of a body in bytes."""
    return OcsfEncoder(version, limit)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _status(status: str) -> dict[str, Any]:
    status_id, caption = STATUSES.get(status, (OTHER, status))
    return {"status_id": status_id, "status": caption, "status_detail": status}


def _confidence(probability: float) -> dict[str, Any]:
    confidence_id, caption = next(found for least, found in CONFIDENCES if probability >= least)
    return {"confidence_id": confidence_id, "confidence": caption, "confidence_score": round(probability * 100)}


def _finding(message: IncidentMessage) -> dict[str, Any]:
    head, fields = message.head, message.fields
    hypothesis = fields.get("hypothesis")
    analytics = [_analytic(detector, _analytic_type(detector)) for detector in fired(message)]
    finding = {
        "uid": head.uid,
        "title": title(message),
        "desc": head.summary,
        "types": [head.family, *([hypothesis] if hypothesis else [])],
        "created_time": _ms(head.opened_at),
        "modified_time": _ms(head.at),
        "first_seen_time": _ms(head.opened_at),
        "last_seen_time": _ms(head.at),
        "analytic": analytics[0] if analytics else _analytic("verdict", "Statistical"),
        "related_analytics": analytics[1:],
        "attacks": [_attack(technique) for technique in fields.get("atlas", ())],
    }
    return {name: value for name, value in finding.items() if value != []}


def _analytic_type(detector: str) -> str:
    return "Learning (ML/DL)" if detector in LEARNING else "Statistical"


def _analytic(name: str, kind: str) -> dict[str, Any]:
    return {"uid": name, "name": name, "type_id": ANALYTIC_TYPES[kind], "type": kind}


def _attack(technique: str) -> dict[str, Any]:
    """One MITRE ATLAS technique; `AML.T0018.000` is the first sub-technique of `AML.T0018`."""
    base = ".".join(technique.split(".")[:2])
    attack = {"version": ATLAS_VERSION, "technique": _technique(base)}
    return attack if base == technique else attack | {"sub_technique": _technique(technique)}


def _technique(uid: str) -> dict[str, str]:
    return {
        "uid": uid,
        "name": ATLAS_TECHNIQUES.get(uid, uid),
        "src_url": technique_page(uid),
    }


def _evidence(item: Mapping[str, Any]) -> dict[str, Any]:
    """One detector's; `verdict` carries its status where the schema has no word for it."""
    verdict_id, verdict = VERDICTS.get(item["status"], (OTHER, item["status"]))
    data = {name: value for name, value in item.items() if name != "detector"}
    return {"name": item["detector"], "verdict_id": verdict_id, "verdict": verdict, "data": data}


def _anomalies(message: IncidentMessage) -> list[dict[str, Any]]:
    """What was seen of the model beside what it stays below in quiet times, for every detector that fired."""
    head = message.head
    found = [item for item in strongest_first(message.fields.get("evidence", ())) if item["status"] == "fired"]
    if not found:
        return []
    baselines = [_observed(item, "threshold") for item in found if item.get("threshold") is not None]
    analysis = {
        "analysis_targets": [{"name": f"{head.model}/{head.version}", "type": MODEL}],
        "anomalies": [_observed(item, "score") for item in found],
        "baselines": baselines,
    }
    return [{name: value for name, value in analysis.items() if value != []}]


def _observed(item: Mapping[str, Any], what: str) -> dict[str, Any]:
    """A detector's `score` or `threshold`, which OCSF wants as a text; null stands for what is not finite."""
    value = item.get(what)
    return {
        "observation_parameter": item["detector"],
        "observation_type": "Deviation Analysis",
        "observed_pattern": what,
        "observations": [{"value": "not finite" if value is None else str(value)}],
    }


def _model(model: str, version: str) -> dict[str, str]:
    return {"uid": f"{model}/{version}", "name": model, "version": version, "type": MODEL}


def _observables(sources: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"name": "unmapped.implicated.sources", "type_id": OTHER, "type": "Event source", "value": source}
        for source in sources[:MOST_OBSERVABLES]
    ]
