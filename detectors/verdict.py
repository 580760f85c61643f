"""From evidence to a verdict: a table of contrasts that is read from the top, and that abstains.

The question is not what changed, but what changed while what else stayed fixed: serving against last known good,
trusted against untrusted labels, as served against as signed. Only trusted answers tell a backdoor from an honestly
learned family, so no rule says poisoning of data without them, and where they are missing it is inconclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from detectors.asking.answers import DECISIVE
from detectors.evidence import Evidence
from detectors.fusion import hypotheses, wording
from detectors.fusion.caveats import ceiling, with_caveats
from detectors.fusion.findings import Findings
from detectors.fusion.hypotheses import Shares
from detectors.fusion.judgement import GRAVITY, Family, Verdict

__all__ = ["GRAVITY", "RULES", "Family", "Rule", "Verdict", "judge"]


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
    held = [rule.concludes(findings) for rule in RULES if rule.holds(findings)]
    return with_caveats(replace(held[0], also=_beside(held, findings)), findings)


def _beside(held: Sequence[Verdict], findings: Findings) -> tuple[tuple[Family, str], ...]:
    """What holds as well: milder decided families, from detectors that the verdict itself does not rest on.

    And evasion where a feature is broken: who owns a source could break it to hide behind.
    """
    first = held[0]
    found: dict[Family, str] = {}
    for other in held[1:]:
        decided = other.hypothesis is not None and other.family not in (first.family, *found)
        if first.hypothesis is not None and decided and not set(other.detectors) & set(first.detectors):
            found[other.family] = str(other.hypothesis)
    if first.hypothesis is not None and first.family != "evasion" and (hidden := findings.missed_where_broken()):
        found["evasion"] = hidden[0]
    return tuple(found.items())


def tampered(findings: Findings) -> bool:
    """What is served is neither what the bundle computes, nor another version, nor a mix-up of classes."""
    return findings.fired("served_mismatch") and findings.fact("served_mismatch", "looks_like") == "tampering"


def buffer_poisoned(findings: Findings) -> bool:
    """Trusted labels say that rows of the training buffer were given false labels, or taught a trigger."""
    return findings.convicted("retraining_buffer")


def forgot(findings: Findings) -> bool:
    """The serving version is wrong where it parts from the last known good one, and its training buffer is clean."""
    clean = bool(findings.fact("retraining_buffer", "clean")) and not labels_poisoned(findings)
    return version_poisoned(findings) and clean


def walked(findings: Findings) -> bool:
    """The same, but only at one source, which tries out where the boundary is: it has found a weak spot."""
    return forgot(findings) and findings.walked()


def buffer_awaited(findings: Findings) -> bool:
    """The serving version is wrong, and answers about its training buffer that would say why are still to come."""
    return version_poisoned(findings) and bool(findings.fact("retraining_buffer", "pending"))


def version_poisoned(findings: Findings) -> bool:
    """Where the serving version contradicts the last known good one deeply, trusted labels say that it is wrong."""
    return bool(findings.against_version())


def got_worse(findings: Findings) -> bool:
    """The serving version is wrong where the reference's own labels say so, and nothing says why.

    Flips that it has learned look the same, but honest retrains that got worse are far more common.
    """
    return findings.against_version() == ("reference_harm",) and not labels_poisoned(findings)


def labels_poisoned(findings: Findings) -> bool:
    """Untrusted labels contradict the last known good model, and trusted ones say that those labels are false."""
    return findings.convicted("label_agreement") and not findings.tentative()


def labels_suspect(findings: Findings) -> bool:
    """The same, but honest noise or a labeller in error may have made them: a suspicion."""
    return findings.tentative() or (findings.unvetted() and not findings.concept_moved())


def blind(findings: Findings) -> bool:
    """A detector failed, so nothing milder than poisoning can be said."""
    return bool(findings.errors())


def both_fooled(findings: Findings) -> bool:
    """Events that look crafted are missed by both versions, as trusted labels say: evasion, or a new kind of attack."""
    return bool(findings.missed())


def wrong_model(findings: Findings) -> bool:
    """What is served agrees with another version, or with the bundle once the classes are put in order."""
    return findings.fired("served_mismatch")


def contradictory(findings: Findings) -> bool:
    """Trusted answers approve of one change while they lean against another."""
    return bool(findings.honest()) and bool(findings.leaning())


def unanswered(findings: Findings) -> bool:
    """Versions or labels disagree beyond their null, and trusted labels do not say (yet) who is right."""
    return bool(findings.undecided())


def crafted_unanswered(findings: Findings) -> bool:
    """Many events look crafted, and trusted labels do not say (yet) whether the versions are right about them."""
    return bool(findings.bursts())


def pipeline_broken(findings: Findings) -> bool:
    """A few features changed as no traffic changes, while the others stayed.

    A changed unit at every source looks like honest growth; where other inputs drift as well, growth is likelier.
    """
    confined = findings.fired("pipeline_fault") and bool(findings.fact("pipeline_fault", "confined"))
    everywhere = findings.fact("pipeline_fault", "cause") == "unit" and findings.fact("pipeline_fault", "everywhere")
    return confined and not (
        everywhere and len(findings.fact("input_similarity", "drifted") or ()) > hypotheses.FEW_FEATURES
    )


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
        findings, "poisoning", hypotheses.TAMPERING, shares, otherwise="pipeline_fault", detectors=("served_mismatch",)
    )


def _buffer_poisoning(findings: Findings) -> Verdict:
    also = tuple(d for d in ("version_disagreement", "label_agreement") if findings.convicted(d))
    counting = ("retraining_buffer", *also)
    kind = str(findings.fact("retraining_buffer", "kind"))
    shares = {"backdoor": hypotheses.PLANTED, "clean_label": hypotheses.CLEAN_LABEL}.get(kind, hypotheses.FLIPPED_ROWS)
    otherwise = "concept_drift" if shares is hypotheses.FLIPPED_ROWS else "new_class"
    return _verdict(
        findings, "poisoning", _posterior(findings, counting), shares, otherwise=otherwise, detectors=counting
    )


def _probed(findings: Findings) -> Verdict:
    return _verdict(
        findings, "evasion", hypotheses.WALKED, hypotheses.PROBING, otherwise="regression", detectors=("probing",)
    )


def _regression(findings: Findings) -> Verdict:
    counting = (*findings.against_version(), "retraining_buffer")
    return _verdict(
        findings, "fault", hypotheses.REGRESSION, hypotheses.FORGOTTEN, otherwise="clean_label", detectors=counting
    )


def _likely_regression(findings: Findings) -> Verdict:
    counting = findings.against_version()
    return _verdict(
        findings,
        "fault",
        hypotheses.LIKELY_REGRESSION,
        hypotheses.FORGOTTEN,
        otherwise="label_flip",
        detectors=counting,
    )


def _awaited_buffer(findings: Findings) -> Verdict:
    return _abstained(findings, (*findings.against_version(), "retraining_buffer"))


def _version_poisoning(findings: Findings) -> Verdict:
    compact = findings.convicted("version_disagreement") and bool(findings.fact("version_disagreement", "compact"))
    shares = hypotheses.BACKDOOR if compact else hypotheses.LEARNED_FLIP
    counting = (*findings.against_version(), *(("label_agreement",) if labels_poisoned(findings) else ()))
    otherwise = "new_class" if compact else "concept_drift"
    return _verdict(
        findings, "poisoning", _posterior(findings, counting), shares, otherwise=otherwise, detectors=counting
    )


def _label_poisoning(findings: Findings) -> Verdict:
    shares = hypotheses.FEEDBACK if findings.fact("label_agreement", "one_origin") else hypotheses.FLIPS
    counting = ("label_agreement",)
    unvetted = findings.unvetted() and not findings.convicted("label_agreement")
    certainty = hypotheses.UNVETTED_FLIPS if unvetted else _posterior(findings, counting)
    return _verdict(findings, "poisoning", certainty, shares, otherwise="concept_drift", detectors=counting)


def _blindness(findings: Findings) -> Verdict:
    counting = tuple(e.detector for e in findings.errors()) + findings.undecided()
    return _abstained(findings, counting)


def _evasion(findings: Findings) -> Verdict:
    counting = findings.missed()
    shares = hypotheses.PROBING if findings.raised("probing") else hypotheses.EVASION
    certainty = min(_posterior(findings, counting), hypotheses.BOTH_FOOLED)
    return _verdict(findings, "evasion", certainty, shares, otherwise="new_class", detectors=counting)


def _wrong_model(findings: Findings) -> Verdict:
    shares = (("pipeline_fault", 1.0),)
    return _verdict(
        findings, "fault", hypotheses.WRONG_MODEL, shares, otherwise="model_tampering", detectors=("served_mismatch",)
    )


def _open_question(findings: Findings) -> Verdict:
    return _abstained(findings, findings.undecided())


def _open_burst(findings: Findings) -> Verdict:
    counting = findings.bursts()
    bad = "probing" if counting == ("probing",) else "evasion_burst"
    return _undecided(findings, counting, bad, "covariate_drift")


def _contradiction(findings: Findings) -> Verdict:
    return _abstained(findings, tuple(dict.fromkeys((*findings.leaning(), *findings.honest()))))


def _pipeline(findings: Findings) -> Verdict:
    shares = (("pipeline_fault", 1.0),)
    return _verdict(
        findings, "fault", hypotheses.FAULT, shares, otherwise="covariate_drift", detectors=("pipeline_fault",)
    )


def _honest_change(findings: Findings) -> Verdict:
    counting = findings.honest()
    by_version = "version_disagreement" in counting and bool(findings.fact("version_disagreement", "compact"))
    shares = hypotheses.NEW_FAMILY if by_version and "label_agreement" not in counting else hypotheses.MOVED
    certainty = max(1 - _posterior(findings, counting), hypotheses.UNVETTED_DRIFT if findings.concept_moved() else 0.0)
    otherwise = "backdoor" if by_version else "label_flip"
    return _verdict(findings, "drift", certainty, shares, otherwise=otherwise, detectors=counting)


def _moved_inputs(findings: Findings) -> Verdict:
    counting = findings.inputs()
    if {"input_similarity", "pipeline_fault"} & set(counting):
        return _verdict(
            findings,
            "drift",
            hypotheses.UNVETTED_DRIFT,
            hypotheses.INPUTS,
            otherwise="pipeline_fault",
            detectors=counting,
        )
    return _verdict(
        findings,
        "drift",
        hypotheses.UNVETTED_DRIFT,
        hypotheses.OUTPUTS_ONLY,
        otherwise="model_tampering",
        detectors=counting,
    )


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
    Rule(buffer_poisoned, _buffer_poisoning),
    Rule(walked, _probed),
    Rule(forgot, _regression),
    Rule(buffer_awaited, _awaited_buffer),
    Rule(got_worse, _likely_regression),
    Rule(version_poisoned, _version_poisoning),
    Rule(labels_poisoned, _label_poisoning),
    Rule(blind, _blindness),
    Rule(both_fooled, _evasion),
    Rule(wrong_model, _wrong_model),
    Rule(labels_suspect, _label_poisoning),
    Rule(contradictory, _contradiction),
    Rule(unanswered, _open_question),
    Rule(crafted_unanswered, _open_burst),
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
    hypothesis, probability = shares[0][0], min(probability, ceiling(findings, detectors))
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
    if detectors == ("label_agreement",) and findings.fact("label_agreement", "since_first_label"):
        bad, good = "feedback_compromise", "label_error"
    if pipeline_broken(findings):
        good = "pipeline_fault"
    return _undecided(findings, detectors, bad, good)


def _undecided(findings: Findings, detectors: tuple[str, ...], bad: str, good: str) -> Verdict:
    """Inconclusive between two hypotheses."""
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
