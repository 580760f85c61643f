"""From evidence to a verdict: a table of contrasts that is read from the top, and that abstains.

The question is not what changed, but what changed while what else stayed fixed: serving against last known good,
trusted against untrusted labels, as served against as signed. Only trusted answers tell a backdoor from an honestly
learned family, so no rule says poisoning of data without them, and where they are missing it is inconclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import numpy as np

from detectors import wording
from detectors.answers import DECISIVE
from detectors.evidence import Evidence, Implicated
from detectors.findings import Findings

Family = Literal["poisoning", "evasion", "fault", "drift", "inconclusive", "stable"]
GRAVITY: Final[tuple[Family, ...]] = ("poisoning", "evasion", "fault", "drift", "inconclusive", "stable")
"""Families, gravest first."""

Shares: TypeAlias = tuple[tuple[str, float], ...]

# How a family's probability divides over its hypotheses, most likely first: judgement, not measurement, and so round.
_BACKDOOR: Final[Shares] = (("backdoor", 0.85), ("label_flip", 0.1), ("clean_label", 0.05))
_LEARNED_FLIP: Final[Shares] = (("label_flip", 0.5), ("model_tampering", 0.25), ("regression", 0.25))
_FLIPS: Final[Shares] = (("label_flip", 0.85), ("feedback_compromise", 0.15))
_FEEDBACK: Final[Shares] = (("feedback_compromise", 0.75), ("label_flip", 0.25))
_NEW_FAMILY: Final[Shares] = (("new_class", 0.6), ("concept_drift", 0.4))
_MOVED: Final[Shares] = (("concept_drift", 0.8), ("new_class", 0.2))
_INPUTS: Final[Shares] = (("covariate_drift", 0.8), ("concept_drift", 0.2))
_OUTPUTS_ONLY: Final[Shares] = (("covariate_drift", 0.6), ("concept_drift", 0.4))

_FEW_FEATURES: Final = 2
"""More inputs than these drifting together are traffic that changes, not one feature whose unit did."""

# Probability of a family where no likelihood ratio of labels gives one: judgement as well.
_TAMPERING: Final = 0.8  # another preprocessing or precision at the server looks the same
_WRONG_MODEL: Final = 0.95
_FAULT: Final = 0.85
_UNVETTED_DRIFT: Final = 0.8  # by inputs that moved while versions and labels agree, or by trusted labels that do not


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence of a window amounts to.

    ``confidence`` is the probability of the family: the posterior of the labels' likelihood ratio at even odds before,
    or a value of the table (of the likelier alternative where the family is inconclusive; for stable the share of
    detectors that could see: quiet means no evidence, never health). ``attribution`` divides all of the probability
    over hypotheses, the verdict's ``hypothesis`` first, and ``alternatives`` are its others, likeliest first.
    ``reasons`` are plain sentences: what changed, what stayed fixed. ``suspected``: true labels are wanted and
    outstanding. ``detectors`` are those whose evidence counts.
    """

    family: Family
    hypothesis: str | None
    confidence: float
    alternatives: tuple[tuple[str, float], ...] = ()
    implicated: Implicated = field(default_factory=Implicated)
    reasons: tuple[str, ...] = ()
    suspected: bool = False
    detectors: tuple[str, ...] = ()
    attribution: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table: where ``holds``, ``concludes`` is the verdict."""

    holds: Callable[[Findings], bool]
    concludes: Callable[[Findings], Verdict]


def judge(evidence: Sequence[Evidence]) -> Verdict:
    """The verdict of the first rule that holds.

    >>> judge([Evidence("input_similarity", "ok"), Evidence("version_disagreement", "ok")]).family
    'stable'
    >>> judge([Evidence("input_similarity", "error", note="x")]).family
    'inconclusive'
    """
    findings = Findings(tuple(evidence))
    return next(rule.concludes(findings) for rule in RULES if rule.holds(findings))


def tampered(findings: Findings) -> bool:
    """What is served is neither what the bundle computes, nor another version, nor a mix-up of classes."""
    return findings.fired("served_mismatch") and findings.fact("served_mismatch", "looks_like") == "tampering"


def version_poisoned(findings: Findings) -> bool:
    """Where the serving version contradicts the last known good one deeply, trusted labels say that it is wrong."""
    return findings.convicted("version_disagreement")


def labels_poisoned(findings: Findings) -> bool:
    """Untrusted labels contradict the last known good model, and trusted ones say that those labels are false."""
    return findings.convicted("label_agreement")


def blind(findings: Findings) -> bool:
    """A detector failed, so nothing milder than poisoning can be said."""
    return bool(findings.errors())


def wrong_model(findings: Findings) -> bool:
    """What is served agrees with another version, or with the bundle once the classes are put in order."""
    return findings.fired("served_mismatch")


def contradictory(findings: Findings) -> bool:
    """Trusted answers approve of one change while they lean against another."""
    return bool(findings.honest()) and any(findings.llr(d) > 0 for d in ("version_disagreement", "label_agreement"))


def unanswered(findings: Findings) -> bool:
    """Versions or labels disagree beyond their null, and trusted labels do not say (yet) who is right."""
    return bool(findings.undecided())


def pipeline_broken(findings: Findings) -> bool:
    """A few features changed as no traffic changes, while the others stayed.

    A changed unit at every source looks like honest growth; where other inputs drift as well, growth is likelier.
    """
    confined = findings.fired("pipeline_fault") and bool(findings.fact("pipeline_fault", "confined"))
    everywhere = findings.fact("pipeline_fault", "cause") == "unit" and findings.fact("pipeline_fault", "everywhere")
    return confined and not (everywhere and len(findings.fact("input_similarity", "drifted") or ()) > _FEW_FEATURES)


def honestly_changed(findings: Findings) -> bool:
    """Something new is there, and trusted labels agree with it."""
    return bool(findings.honest())


def inputs_moved(findings: Findings) -> bool:
    """Inputs or scores moved, while nothing speaks against the serving version or the labels."""
    return bool(findings.inputs())


def quiet(findings: Findings) -> bool:  # noqa: ARG001 - the last row holds for whatever is left
    """Nothing fired: no evidence, which is not health."""
    return True


def _tampering(findings: Findings) -> Verdict:
    shares = (("model_tampering", 1.0),)
    return _verdict(
        findings, "poisoning", _TAMPERING, shares, otherwise="pipeline_fault", detectors=("served_mismatch",)
    )


def _version_poisoning(findings: Findings) -> Verdict:
    compact = bool(findings.fact("version_disagreement", "compact"))
    shares = _BACKDOOR if compact else _LEARNED_FLIP
    counting = ("version_disagreement", *(("label_agreement",) if labels_poisoned(findings) else ()))
    otherwise = "new_class" if compact else "concept_drift"
    return _verdict(
        findings, "poisoning", _posterior(findings, counting), shares, otherwise=otherwise, detectors=counting
    )


def _label_poisoning(findings: Findings) -> Verdict:
    shares = _FEEDBACK if findings.fact("label_agreement", "one_origin") else _FLIPS
    counting = ("label_agreement",)
    return _verdict(
        findings, "poisoning", _posterior(findings, counting), shares, otherwise="concept_drift", detectors=counting
    )


def _blindness(findings: Findings) -> Verdict:
    counting = tuple(e.detector for e in findings.errors()) + findings.undecided()
    return _abstained(findings, counting)


def _wrong_model(findings: Findings) -> Verdict:
    shares = (("pipeline_fault", 1.0),)
    return _verdict(
        findings, "fault", _WRONG_MODEL, shares, otherwise="model_tampering", detectors=("served_mismatch",)
    )


def _open_question(findings: Findings) -> Verdict:
    return _abstained(findings, findings.undecided())


def _contradiction(findings: Findings) -> Verdict:
    leaning = (d for d in ("version_disagreement", "label_agreement") if findings.llr(d) > 0)
    return _abstained(findings, tuple(dict.fromkeys((*leaning, *findings.honest()))))


def _pipeline(findings: Findings) -> Verdict:
    shares = (("pipeline_fault", 1.0),)
    return _verdict(findings, "fault", _FAULT, shares, otherwise="covariate_drift", detectors=("pipeline_fault",))


def _honest_change(findings: Findings) -> Verdict:
    counting = findings.honest()
    by_version = "version_disagreement" in counting and bool(findings.fact("version_disagreement", "compact"))
    shares = _NEW_FAMILY if by_version and "label_agreement" not in counting else _MOVED
    certainty = max(1 - _posterior(findings, counting), _UNVETTED_DRIFT if findings.concept_moved() else 0.0)
    otherwise = "backdoor" if by_version else "label_flip"
    return _verdict(findings, "drift", certainty, shares, otherwise=otherwise, detectors=counting)


def _moved_inputs(findings: Findings) -> Verdict:
    counting = findings.inputs()
    if {"input_similarity", "pipeline_fault"} & set(counting):
        return _verdict(findings, "drift", _UNVETTED_DRIFT, _INPUTS, otherwise="pipeline_fault", detectors=counting)
    return _verdict(findings, "drift", _UNVETTED_DRIFT, _OUTPUTS_ONLY, otherwise="model_tampering", detectors=counting)


def _stable(findings: Findings) -> Verdict:
    return Verdict(
        "stable",
        None,
        findings.watching(),
        reasons=wording.quiet(findings),
        suspected=findings.wants_labels(),
    )


RULES: Final = (
    Rule(tampered, _tampering),
    Rule(version_poisoned, _version_poisoning),
    Rule(labels_poisoned, _label_poisoning),
    Rule(blind, _blindness),
    Rule(wrong_model, _wrong_model),
    Rule(contradictory, _contradiction),
    Rule(unanswered, _open_question),
    Rule(pipeline_broken, _pipeline),
    Rule(honestly_changed, _honest_change),
    Rule(inputs_moved, _moved_inputs),
    Rule(quiet, _stable),
)
"""The table, in the order in which it is read."""


def _posterior(findings: Findings, detectors: Sequence[str]) -> float:
    """Probability of poisoning at even odds before, from the strongest likelihood ratio (they share labels: no sum)."""
    llr = max((findings.llr(d) for d in detectors), key=abs, default=0.0)
    return float(1 / (1 + np.exp(-llr)))


def _verdict(
    findings: Findings,
    family: Family,
    probability: float,
    shares: Shares,
    *,
    otherwise: str,
    detectors: tuple[str, ...],
) -> Verdict:
    """The family's probability divided over its hypotheses, and what is left of it for what it was weighed against."""
    hypothesis = shares[0][0]
    rest = [(name, probability * share) for name, share in shares[1:]] + [(otherwise, 1 - probability)]
    alternatives = tuple(sorted(rest, key=lambda pair: -pair[1]))
    return Verdict(
        family,
        hypothesis,
        probability,
        alternatives,
        findings.implicated(detectors),
        wording.reasons(findings, detectors),
        findings.wants_labels(),
        detectors,
        ((hypothesis, probability * shares[0][1]), *alternatives),
    )


def _abstained(findings: Findings, detectors: tuple[str, ...]) -> Verdict:
    """Inconclusive, with the two hypotheses that are left and what the answers so far make of them, 20 to 1 at most."""
    compact = "version_disagreement" in detectors and bool(findings.fact("version_disagreement", "compact"))
    bad, good = ("backdoor", "new_class") if compact else ("label_flip", "concept_drift")
    if pipeline_broken(findings):
        good = "pipeline_fault"
    llr = float(np.clip(sum(findings.llr(d) for d in detectors), -DECISIVE, DECISIVE))
    p = float(1 / (1 + np.exp(-llr)))
    ordered = tuple(sorted(((bad, p), (good, 1 - p)), key=lambda pair: -pair[1]))
    return Verdict(
        "inconclusive",
        None,
        ordered[0][1],
        ordered,
        findings.implicated(detectors),
        wording.reasons(findings, detectors),
        findings.wants_labels(),
        detectors,
        ordered,
    )
