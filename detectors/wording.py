"""The verdict's reasons as plain sentences: what changed first, then what stayed fixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from detectors.evidence import Evidence
from detectors.findings import Findings

_ASPECTS: Final = {
    "input_similarity": "the inputs look like the reference",
    "prediction_entropy": "the model's certainty has not changed",
    "importance_drift": "the same features matter as before",
    "version_disagreement": "serving and last known good version do not part beyond the retrain's own churn",
    "label_agreement": "labels agree with the last known good model as they always did",
    "served_mismatch": "what is served is what the bundle computes",
    "pipeline_fault": "no feature is broken",
}
_CHANGES: Final = {
    "input_similarity": "The inputs no longer look like the reference",
    "prediction_entropy": "The model's certainty has changed",
    "importance_drift": "Other features matter to the model than before",
}


def reasons(findings: Findings, detectors: Sequence[str]) -> tuple[str, ...]:
    """A sentence for each detector that counts, and one for what stayed fixed."""
    counting = [e for e in findings.evidence if e.detector in detectors]
    return (*(_changed(e) for e in sorted(counting, key=lambda e: detectors.index(e.detector))), *_fixed(findings))


def quiet(findings: Findings) -> tuple[str, ...]:
    """Why nothing is said: who watched, who could not, who was asked and answered."""
    blind = [e.detector for e in findings.evidence if e.status == "warming"]
    said = ["No evidence of change in what was watched; a dormant trigger would not show."]
    if blind:
        said.append(f"Not watched: {', '.join(blind)}.")
    return (*said, *_fixed(findings))


def _fixed(findings: Findings) -> tuple[str, ...]:
    still = [_ASPECTS[e.detector] for e in findings.evidence if e.detector in _ASPECTS and _is_still(e)]
    return (f"Unchanged: {'; '.join(still)}.",) if still else ()


def _is_still(e: Evidence) -> bool:
    return e.status == "ok" and not e.suspects


def _changed(e: Evidence) -> str:
    if e.status == "error":
        return f"The detector {e.detector} failed, so what it watches is unknown: {e.note or 'no reason given'}."
    return _SENTENCES.get(e.detector, _plain)(e)


def _plain(e: Evidence) -> str:
    change = _CHANGES.get(e.detector, f"The detector {e.detector} fired")
    names = ", ".join(c.name for c in e.top[:3])
    return f"{change}, most of all in {names}." if names else f"{change}."


def _disagreement(e: Evidence) -> str:
    facts = e.facts
    who = f"{facts.get('from_class', 'one class')} for the last known good version, {facts.get('to_class', 'another')}"
    said = f"{facts.get('deep_sessions', 0)} sessions are clearly {who} for the serving one"
    said += f", and share {_values(e.implicated.features)}" if e.implicated.features else ""
    if not e.answers:
        return f"{said}; no trusted label says yet who is right."
    return f"{said}; of {e.answers} trusted labels {facts.get('wrong', 0)} say that the serving version is wrong."


def _labels(e: Evidence) -> str:
    facts = e.facts
    said = "Labels contradict the last known good model more than honest noise explains"
    if "from_class" in facts:
        said += f", {facts['to_class']} where it is sure of {facts['from_class']} (strongest in {facts['scope']})"
    if facts.get("one_origin"):
        said += f", nearly all by {facts['one_origin']}"
    if facts.get("trusted_excess"):
        return f"{said}; trusted labels contradict it too."
    if not e.answers:
        return f"{said}; no trusted label says yet whether they are true."
    return f"{said}; of {e.answers} that were checked {facts.get('false', 0)} are false."


def _served(e: Evidence) -> str:
    like = {
        "wrong_version": "they agree with the last known good version instead",
        "mapping_error": "they agree once the classes are put in another order",
    }.get(str(e.facts.get("looks_like")), "no other version and no mix-up of classes explains them")
    return f"{e.facts.get('differing', 0)} events were served with scores that the bundle does not compute; {like}."


def _pipeline(e: Evidence) -> str:
    names = ", ".join(str(n) for n in e.facts.get("features", ())) or "a feature"
    where = f" at {', '.join(e.implicated.sources[:5])}" if e.implicated.sources else ""
    return f"{names} changed{where} as no traffic changes ({e.facts.get('cause', 'unknown cause')})."


def _values(features: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in list(features.items())[:6])


_SENTENCES: Final[dict[str, Callable[[Evidence], str]]] = {
    "version_disagreement": _disagreement,
    "label_agreement": _labels,
    "served_mismatch": _served,
    "pipeline_fault": _pipeline,
}
