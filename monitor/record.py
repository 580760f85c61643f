"""The line that `windows.ndjson` holds for each window: every gauge, every detector's status and the verdict."""

from __future__ import annotations

from typing import Any

from detectors.evidence import Evidence
from detectors.verdict import Verdict
from monitor.figures import figure, plain
from monitor.incidents.fields import hypothesis_confidence
from monitor.watch import Judged
from monitor.window import ClosedWindow


def window_record(closed: ClosedWindow, judged: Judged, incident: str | None, at: float) -> dict[str, Any]:
    """One JSON object; figures are rounded to nine significant digits, so that the text is short and stable."""
    batch = judged.window.batch
    return {
        "model": batch.model,
        "version": batch.version,
        "index": closed.index,
        "at": at,
        "events": len(batch),
        "first_id": str(batch.id[0]) if len(batch) else "",
        "last_id": str(batch.id[-1]) if len(batch) else "",
        "offsets": closed.ranges,
        "closed_by": closed.reason,
        "late": closed.late,
        "future": closed.future,
        "detectors": {e.detector: detector_record(e) for e in judged.evidence},
        "verdict": verdict_record(judged.verdict),
        "incident": incident,
    }


def detector_record(e: Evidence) -> dict[str, Any]:
    """Status, statistic, gauges and findings of one detector."""
    return {
        "status": e.status,
        "suspects": bool(e.suspects),
        "score": figure(e.score),
        "threshold": figure(e.threshold),
        "e_value": None if e.e_value is None else figure(e.e_value),
        "llr": None if e.llr is None else figure(e.llr),
        "answers": e.answers,
        "top": [{"name": c.name, "contribution": figure(c.contribution)} for c in e.top],
        "gauges": {name: figure(value) for name, value in e.gauges.items()},
        "facts": plain(e.facts),
        "note": e.note,
    }


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """The verdict, ``stable`` included."""
    return {
        "family": verdict.family,
        "hypothesis": verdict.hypothesis,
        "confidence": figure(hypothesis_confidence(verdict)),
        "family_confidence": figure(verdict.confidence),
        "alternatives": [[name, figure(p)] for name, p in verdict.alternatives],
        "suspected": verdict.suspected,
        "level": verdict.level,
        "weaker": list(verdict.weaker),
        "tentative": verdict.tentative,
        "decider": verdict.decider,
        "also": dict(verdict.also),
        "reasons": list(verdict.reasons),
    }
