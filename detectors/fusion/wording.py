"""The verdict's reasons as plain sentences: what changed first, then what stayed fixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from detectors.evidence import Evidence
from detectors.fusion.findings import Findings

if TYPE_CHECKING:
    from detectors.fusion.judgement import Verdict

LEVELS: Final = {
    0: "seen with events alone",
    1: "seen with labels, without checkpoints",
    2: "seen with both checkpoints",
    3: "seen with both checkpoints and the training buffer",
}
"""What a verdict of each level was reached with."""

_FIXED: Final = "Unchanged: "
_SHOWN: Final = 2
_ASPECTS: Final = {
    "input_similarity": "the inputs look like the reference",
    "prediction_entropy": "the model's certainty has not changed",
    "importance_drift": "the same features matter as before",
    "version_disagreement": "serving and last known good version do not part beyond the retrain's own churn",
    "reference_harm": "on the reference the serving version is as right as the last known good one",
    "label_agreement": "labels agree with the last known good model as they always did",
    "served_mismatch": "what is served is what the bundle computes",
    "pipeline_fault": "no feature is broken",
    "evasion_burst": "no more events than usual look made to fool the models",
    "probing": "nobody walks along the models' boundary",
    "retraining_buffer": "no false label was found in the training buffer",
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
    if findings.fact("version_disagreement", "lkg") in ("itself", "unvouched"):
        said.append("The last known good version itself serves: what it learned before that would not show.")
    return (*said, *_fixed(findings))


def summary(verdict: Verdict, advice: str) -> str:
    """Two sentences for an analyst: what changed while what stayed fixed, seen with what; and what to do.

    ``advice`` is a sentence. Where something weakens the verdict or would decide it, the second sentence says so.
    """
    said = [reason for reason in verdict.reasons if not reason.startswith(_FIXED)]
    fixed = [reason.removeprefix(_FIXED) for reason in verdict.reasons if reason.startswith(_FIXED)]
    first = _open(said[0]) if said else "The evidence does not separate the hypotheses yet"
    if fixed:
        first += f"; unchanged: {'; '.join(_open(fixed[0]).split('; ')[:_SHOWN])}"
    if verdict.also:
        first += f"; at the same time: {', '.join(f'{family} ({what})' for family, what in verdict.also)}"
    second = _open(advice)
    if verdict.tentative:
        second = f"Only suspected, as {'; '.join(verdict.weaker)}: {second[:1].lower()}{second[1:]}"
    elif verdict.weaker:
        second += f"; this is weaker than usual, as {'; '.join(verdict.weaker)}"
    if verdict.decider:
        second += f"; what would decide it: {verdict.decider}"
    return f"{first} (level {verdict.level}, {LEVELS[verdict.level]}). {second}."


def _open(sentence: str) -> str:
    """The sentence without its full stop, so that more can follow."""
    return sentence.strip().removesuffix(".").replace(". ", "; ")


def _fixed(findings: Findings) -> tuple[str, ...]:
    still = [_ASPECTS[e.detector] for e in findings.evidence if e.detector in _ASPECTS and _is_still(e)]
    return (f"{_FIXED}{'; '.join(still)}.",) if still else ()


def _is_still(e: Evidence) -> bool:
    """Nothing was found; a buffer that was not seen, or is in question, is not said to be clean."""
    return e.status == "ok" and not e.suspects and bool(e.facts.get("clean", e.facts.get("seen", True)))


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
    said += f"; of {e.answers} trusted labels {facts.get('wrong', 0)} say that the serving version is wrong"
    return f"{said}{_who_answered(facts)}."


def _harm(e: Evidence) -> str:
    facts = e.facts
    said = (
        f"On the vetted reference the serving version has {100 * facts.get('net_harm', 0.0):.1f}% more of all sessions "
        f"wrong than the last known good one, all of class {facts.get('harmed_class', 'unknown')}"
    )
    if not e.answers:
        return f"{said}; no trusted label says yet whether that is so in the stream."
    said += f"; of {e.answers} trusted labels of the stream {facts.get('wrong', 0)} say that the serving one is wrong"
    return f"{said}{_who_answered(facts)}."


def _who_answered(facts: Mapping[str, Any]) -> str:
    """How far the answers rest on one word: a trusted origin may err, or lie."""
    origins = facts.get("answering_origins", {})
    said = f", all by {next(iter(origins))}" if len(origins) == 1 else ""
    if facts.get("opposed_origins"):
        said += f", while {' and '.join(facts['opposed_origins'])} contradict each other"
    elif facts.get("disputed"):
        said += f", and about {facts['disputed']} more events trusted origins contradict each other"
    return said


def _labels(e: Evidence) -> str:
    facts = e.facts
    said = "Labels contradict the last known good model more than honest noise explains"
    if "from_class" in facts:
        said += f", {facts['to_class']} where it is sure of {facts['from_class']} (strongest in {facts['scope']})"
    if facts.get("one_origin"):
        said += f", nearly all by {facts['one_origin']}"
    if facts.get("trusted_excess"):
        return f"{said}; trusted labels contradict it too."
    kind, _, name = str(facts.get("foremost", "all")).partition(":")
    if name:
        share = round(100 * facts.get("seconded", 1.0))
        said += f"; mostly of {name}, and of such events the labels of other {kind}s contradict it in {share}%"
    if not e.answers:
        return f"{said}; no trusted label says yet whether they are true."
    said += f"; of {e.answers} that were checked {facts.get('false', 0)} are false"
    if facts.get("since_first_label"):
        said += f", but {facts['one_origin']} has labelled so from the first, as another rubric would"
    return f"{said}."


def _served(e: Evidence) -> str:
    like = {
        "wrong_version": "they agree with the last known good version instead",
        "mapping_error": "they agree once the classes are put in another order",
    }.get(str(e.facts.get("looks_like")), "no other version and no mix-up of classes explains them")
    return f"{e.facts.get('differing', 0)} events were served with scores that the bundle does not compute; {like}."


def _pipeline(e: Evidence) -> str:
    names = ", ".join(str(n) for n in e.facts.get("features", ())) or "a feature"
    where = f" at {', '.join(e.implicated.sources[:5])}" if e.implicated.sources else ""
    where = " at most sources" if e.facts.get("everywhere") else where
    how = ", ".join(f"{name}: {shown}" for name, shown in e.implicated.features.items())
    said = f"{names} changed{where} as no traffic changes ({e.facts.get('cause', 'unknown cause')}{how and '; '}{how})"
    undo = "; ".join(f"{name}: {proposal}" for name, proposal in (e.facts.get("undo") or {}).items())
    return f"{said}; this would undo it: {undo}." if undo else f"{said}."


def _crafted(e: Evidence) -> str:
    facts = e.facts
    where = f" at {', '.join(e.implicated.sources)}" if e.implicated.sources else ""
    said = f"Events{where} look as if they were made to fool the models"
    if e.detector == "probing":
        said = f"Events{where} walk in small steps along the boundary of the models"
    if not e.answers:
        return f"{said}; no trusted label says yet whether the models are right about them."
    said = f"{said}; of {e.answers} trusted labels {facts.get('wrong', 0)} say that both versions are wrong"
    if facts.get("wrong", 0) and "to_class" in facts:
        was = f" {facts['from_class']}" if "from_class" in facts else " something else"
        said += f" (they say {facts['to_class']}, it is{was})"
    return f"{said}: evasion, or a new attack that both versions miss." if facts.get("convicted") else f"{said}."


def _values(features: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in list(features.items())[:6])


def _buffer(e: Evidence) -> str:
    facts = e.facts
    if facts.get("convicted") and "rows" not in facts:
        what = _values(e.implicated.features)
        taught = f"The training buffer taught the model that {what} means {facts.get('to_class')}"
        return f"{taught}; most of {e.answers} checked events with it are not."
    if facts.get("convicted"):
        where = f", mostly from {', '.join(e.implicated.sources)}" if e.implicated.sources else ""
        share = f" that share {_values(e.implicated.features)}" if e.implicated.features else ""
        label = f" labelled {facts['to_class']}" if facts.get("to_class") else ""
        said = f"The training buffer holds {facts.get('rows', 0)} suspicious rows{label}{share}{where}"
        return f"{said}; of {facts.get('answered', 0)} that were checked {facts.get('false', 0)} have a false label."
    if facts.get("clean"):
        return "No false label was found in the training buffer: the version got worse by what it learned, or forgot."
    return "Labels of suspicious rows of the training buffer are still being checked."


_SENTENCES: Final[dict[str, Callable[[Evidence], str]]] = {
    "version_disagreement": _disagreement,
    "reference_harm": _harm,
    "label_agreement": _labels,
    "served_mismatch": _served,
    "pipeline_fault": _pipeline,
    "retraining_buffer": _buffer,
    "evasion_burst": _crafted,
    "probing": _crafted,
}
