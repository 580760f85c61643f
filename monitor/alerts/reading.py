"""What every format says of an incident, read off its fields: title, what fired, what is implicated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitor.alerts.alert import IncidentMessage

Evidence = Mapping[str, Any]


def title(message: IncidentMessage) -> str:
    """A line for a list of alerts: ``backdoor in model nids, version 2``."""
    head = message.head
    return f"{message.fields.get('hypothesis') or head.family} in model {head.model}, version {head.version}"


def kind(message: IncidentMessage) -> str:
    """Family and hypothesis by which receivers group alerts: ``poisoning/backdoor``, or the family alone."""
    hypothesis = message.fields.get("hypothesis")
    return f"{message.head.family}/{hypothesis}" if hypothesis else message.head.family


def pages(message: IncidentMessage) -> bool:
    """Whether somebody is to be woken: not while labels are being asked for, nor for what is over."""
    return message.head.status == "confirmed" and message.head.activity != "close"


def strongest_first(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Those that fired first, and of them the one furthest beyond its threshold."""
    return sorted(evidence, key=lambda item: (item["status"] != "fired", -_strength(item)))


def fired(message: IncidentMessage) -> list[str]:
    """The detectors that fired, the strongest first."""
    return [e["detector"] for e in strongest_first(message.fields.get("evidence", ())) if e["status"] == "fired"]


def implicated(message: IncidentMessage, what: str) -> Any:
    """One of ``features`` (a mapping), ``sources``, ``origins``, ``labels``, ``events`` (lists); or empty."""
    return message.fields.get("implicated", {}).get(what) or ({} if what == "features" else [])


def acts(message: IncidentMessage) -> list[str]:
    """What was planned and done, and how it stands: ``rollback to 1: done``."""
    return [_act(act) for act in message.fields.get("action", ())]


def _act(act: Mapping[str, Any]) -> str:
    target = f" to {act['target']}" if act.get("target") else ""
    return f"{act.get('action', 'action')}{target}: {act.get('result', '')}"


def closing(message: IncidentMessage) -> str:
    """Why it was closed, and by whom where a person did: ``ada: a test of ours``; empty while it is open."""
    reason, by = (str(message.fields.get(name) or "") for name in ("close_reason", "closed_by"))
    return f"{by}: {reason}" if by else reason


def technique_page(uid: str) -> str:
    """Where MITRE ATLAS describes a technique."""
    return f"https://atlas.mitre.org/techniques/{uid}"


def _strength(evidence: Evidence) -> float:
    """How far beyond its threshold; a figure that JSON could not hold counts as none."""
    score, threshold = evidence.get("score"), evidence.get("threshold")
    return float(score) / float(threshold) if score is not None and threshold else 0.0
