"""What a verdict was reached with, how much that is worth, and what would decide more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.asking.answers import DECISIVE
from detectors.evidence import Evidence
from detectors.fusion.findings import Findings

if TYPE_CHECKING:
    from detectors.fusion.judgement import Verdict

TENTATIVE: Final = 0.8
"""Probability at most of a family that a shadow model or a few labels speak for."""

_DOUBTS: Final = {
    "noise": "the false labels are few enough to be honest noise, though that seldom crowds so",
    "unvetted": "nobody says whether these labels are false; that others label such events as the last known good "
    "model does is all that speaks against them",
    "few": "the false labels are those of four sessions at most, which an honest labeller may have mistaken",
    "labeller": "a labeller in error gives the same labels as one who is compromised, and it is not sure that this one "
    "ever labelled otherwise",
}
_SHADOW: Final = "a shadow model, learned from part of the reference, stood in for a last known good version"
_SURROGATE: Final = "importance was read off the scores as served, as the model could not be asked"
_UNCOMPARED: Final = "no last known good version was compared, so that poisoning behind it would not show"
_UNVOUCHED: Final = (
    "nobody has vouched for this version, and a backdoor in it looks the same (tocsin registry shadow tells)"
)
_COMPARED: Final = 2  # the level from which on it was
_NATS_AN_ANSWER: Final = 0.9  # what one label adds to the log likelihood ratio, roughly


def with_caveats(verdict: Verdict, findings: Findings) -> Verdict:
    """The verdict with its level, what makes it weaker, and what would decide it."""
    decided = verdict.family not in ("stable", "inconclusive")
    innocent = verdict.family == "poisoning" and _maybe_innocent(findings, verdict.detectors)
    tentative = decided and (innocent or rests_on_shadow(findings, verdict.detectors))
    weaker: tuple[str, ...] = (_SHADOW,) if findings.shadow() and (tentative or not decided) else ()
    weaker += (_DOUBTS[_doubt(findings, verdict.detectors)],) if innocent else ()
    if "importance_drift" in verdict.detectors and findings.fact("importance_drift", "weaker"):
        weaker += (_SURROGATE,)
    if verdict.family == "evasion" and _like_backdoor(findings, verdict.detectors):
        weaker += (_UNVOUCHED,)
    if verdict.family == "drift" and findings.level() < _COMPARED:
        weaker += (_UNCOMPARED,)
    decider = what_would_decide(findings, verdict.detectors) if tentative or verdict.family == "inconclusive" else ""
    return replace(verdict, level=findings.level(), weaker=weaker, tentative=tentative, decider=decider)


def rests_on_shadow(findings: Findings, detectors: Sequence[str]) -> bool:
    """Whether one of these detectors compared with a shadow model."""
    return findings.shadow() and any(detector not in Findings.ALONE for detector in detectors)


def ceiling(findings: Findings, detectors: Sequence[str]) -> float:
    """The largest probability that a family may get from these detectors."""
    doubts = (rests_on_shadow, _like_backdoor, _maybe_innocent)
    return TENTATIVE if any(doubt(findings, detectors) for doubt in doubts) else 1.0


def _maybe_innocent(findings: Findings, detectors: Sequence[str]) -> bool:
    """Whether it rests on labels alone that noise or a labeller in error may have made, or that nobody has checked."""
    if tuple(detectors) == ("retraining_buffer",):
        return bool(findings.fact("retraining_buffer", "few"))
    return tuple(detectors) == ("label_agreement",) and (findings.tentative() or findings.unvetted())


def _doubt(findings: Findings, detectors: Sequence[str]) -> str:
    if tuple(detectors) == ("retraining_buffer",):
        return "few"
    return str(findings.fact("label_agreement", "tentative") or "unvetted")


def _like_backdoor(findings: Findings, detectors: Sequence[str]) -> bool:
    """Whether a backdoor would look the same: attacks are missed by a version that nothing clean is compared with."""
    return findings.unvouched() and bool({"evasion_burst", "probing"} & set(detectors))


def what_would_decide(findings: Findings, detectors: Sequence[str]) -> str:
    """Which label, which checkpoint, which field: what to bring, most telling first; three things at most.

    >>> failed = Evidence("label_agreement", "error", note="boom")
    >>> what_would_decide(Findings((failed,)), ("label_agreement",))
    'the detector label_agreement working again'
    """
    counting = [e for e in findings.evidence if e.detector in detectors]
    wanted = [_mended(e) for e in counting] + [_labels(e) for e in counting]
    wanted += [_history(e) for e in counting] + [_identity(e) for e in counting]
    wanted += [_checkpoint(findings), _source(findings)]
    return "; ".join(list(dict.fromkeys(filter(None, wanted)))[:3]) or "trusted labels of the listed events"


def _mended(e: Evidence) -> str:
    return f"the detector {e.detector} working again" if e.status == "error" else ""


def _labels(e: Evidence) -> str:
    """The labels that are missing: of which events, between which classes, about how many."""
    if e.status == "error" or (e.llr is not None and abs(e.llr) >= DECISIVE):
        return ""
    facts = e.facts
    if facts.get("opposed_origins"):
        return f"who of {' and '.join(facts['opposed_origins'])} labels truly: they contradict each other"
    many = int(np.ceil((DECISIVE - abs(e.llr or 0.0)) / _NATS_AN_ANSWER))
    events = facts.get("wanted", e.implicated.events[:3])
    which = f" of {', '.join(events)}" if events else ""
    pair = sorted(str(facts[name]) for name in ("from_class", "to_class") if facts.get(name))
    between = f" ({' or '.join(pair)})" if pair else ""
    return f"about {many} {'more ' if e.answers else ''}trusted labels{which}{between}"


def _history(e: Evidence) -> str:
    """Who is compromised once labelled otherwise; who errs, or has another rubric, always labelled so."""
    if not (e.facts.get("since_first_label") or e.facts.get("tentative") == "labeller"):
        return ""
    return f"how {e.facts['one_origin']} labelled such events earlier, or whether somebody vouches for these labels"


def _identity(e: Evidence) -> str:
    repeated = int(e.facts.get("repeated_ids", 0))
    if not repeated:
        return ""
    return f"an `id` of their own for {repeated} events that repeat an earlier one's, so that they can be labelled"


def _checkpoint(findings: Findings) -> str:
    if findings.shadow():
        return "a last known good version that somebody vouches for, instead of the shadow model"
    if findings.level() < _COMPARED and findings.of("version_disagreement") is not None:
        return "the checkpoints (ONNX) of the serving and of the last known good version"
    return ""


def _source(findings: Findings) -> str:
    tops = [c.name for e in findings.evidence for c in e.top]
    return "the field `source` in events, to see where they come from" if "source:-" in tops else ""
