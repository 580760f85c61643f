"""The table of contrasts: labels decide about poisoning, failures are never healthy, and it abstains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.evidence import Contributor, Evidence, Implicated, Status
from detectors.verdict import GRAVITY, RULES, Verdict, judge

GATE = float(np.log(20))
NAMES = (
    "importance_drift",
    "input_similarity",
    "label_agreement",
    "pipeline_fault",
    "prediction_entropy",
    "served_mismatch",
    "version_disagreement",
)


def panel(**changed: Evidence) -> list[Evidence]:
    """Every detector quiet but for those given."""
    return [changed.get(name, Evidence(name, "ok")) for name in NAMES]


def disagreement(llr: float | None, *, status: Status = "fired", answers: int = 6, **facts: Any) -> Evidence:
    found = {"asked": 8, "wrong": 6, "deep_sessions": 30, "from_class": "attack", "to_class": "benign", "compact": True}
    implicated = Implicated({"service": "ftp"}, ("s1",), (), ("benign",), ("e1",))
    return Evidence(
        "version_disagreement", status, suspects=True, llr=llr, answers=answers if llr is not None else 0,
        implicated=implicated, facts=found | facts,
    )  # fmt: skip


def labels(llr: float | None, *, status: Status = "fired", answers: int = 6, **facts: Any) -> Evidence:
    found = {"asked": 8, "false": 6, "scope": "source:s1", "from_class": "attack", "to_class": "benign"}
    return Evidence(
        "label_agreement", status, suspects=True, llr=llr, answers=answers if llr is not None else 0,
        implicated=Implicated({}, ("s2",), ("feed",), ("benign",), ("e2",)), facts=found | facts,
    )  # fmt: skip


def mismatch(looks_like: str) -> Evidence:
    return Evidence("served_mismatch", "fired", suspects=True, facts={"looks_like": looks_like, "differing": 9})


def outcome(verdict: Verdict) -> tuple[str, str | None]:
    return verdict.family, verdict.hypothesis


statuses = st.sampled_from(["ok", "fired", "error", "warming"])
ratios = st.one_of(st.none(), st.floats(-8, 8))


@st.composite
def panels(draw: st.DrawFn) -> list[Evidence]:
    made = [Evidence(name, draw(statuses)) for name in NAMES if name not in ("version_disagreement", "label_agreement")]
    facts = {"looks_like": draw(st.sampled_from(["tampering", "wrong_version", "mapping_error"]))}
    made = [Evidence(e.detector, e.status, facts=facts | {"confined": draw(st.booleans())}) for e in made]
    made.append(disagreement(draw(ratios), status=draw(statuses), compact=draw(st.booleans())))
    excess, origin = draw(st.booleans()), draw(st.sampled_from([None, "feed"]))
    made.append(labels(draw(ratios), status=draw(statuses), trusted_excess=excess, one_origin=origin))
    return made


@given(panels())
def test_a_failed_detector_is_never_stable(evidence: list[Evidence]) -> None:
    if any(e.status == "error" for e in evidence):
        assert judge(evidence).family in ("inconclusive", "poisoning")


@given(panels())
def test_poisoning_is_never_said_without_labels_or_the_bundle_to_prove_it(evidence: list[Evidence]) -> None:
    if judge(evidence).family == "poisoning":
        proven = [e for e in evidence if e.status != "error" and e.llr is not None and e.llr >= GATE]
        tampered = [e for e in evidence if e.status == "fired" and e.detector == "served_mismatch"]
        assert proven or tampered


@given(panels())
def test_probabilities_are_probabilities_and_the_order_of_evidence_is_of_no_matter(evidence: list[Evidence]) -> None:
    verdict = judge(evidence)
    assert 0 <= verdict.confidence <= 1
    if verdict.family != "stable":
        assert sum(p for _, p in verdict.attribution) == pytest.approx(1.0)
        assert len({name for name, _ in verdict.attribution}) == len(verdict.attribution)
        assert [p for _, p in verdict.alternatives] == sorted((p for _, p in verdict.alternatives), reverse=True)
    assert outcome(judge(evidence[::-1])) == outcome(verdict)
    assert judge(evidence[::-1]).confidence == verdict.confidence


@given(st.lists(st.sampled_from(["ok", "warming"]), min_size=7, max_size=7))
def test_where_nothing_fired_the_verdict_is_stable_and_claims_no_health(given_statuses: list[Status]) -> None:
    verdict = judge([Evidence(name, status) for name, status in zip(NAMES, given_statuses, strict=True)])
    assert outcome(verdict) == ("stable", None)
    assert verdict.confidence == pytest.approx(given_statuses.count("ok") / 7)
    assert "No evidence" in verdict.reasons[0]


@given(st.floats(GATE, 30), st.booleans())
def test_the_sign_of_the_likelihood_ratio_decides(llr: float, compact: bool) -> None:  # noqa: FBT001 - drawn, not called
    against = judge(panel(version_disagreement=disagreement(llr, compact=compact)))
    for_it = judge(panel(version_disagreement=disagreement(-llr, compact=compact)))
    assert outcome(against) == ("poisoning", "backdoor" if compact else "label_flip")
    assert outcome(for_it) == ("drift", "new_class" if compact else "concept_drift")
    assert against.confidence == pytest.approx(for_it.confidence)
    assert against.confidence >= 20 / 21 - 1e-9


@given(st.floats(-GATE + 1e-6, GATE - 1e-6))
def test_between_the_gates_it_abstains_with_two_hypotheses(llr: float) -> None:
    verdict = judge(panel(version_disagreement=disagreement(llr)))
    assert verdict.family == "inconclusive"
    assert {name for name, _ in verdict.alternatives} == {"backdoor", "new_class"}
    assert verdict.alternatives[0][1] >= verdict.alternatives[1][1]
    assert verdict.suspected


TABLE = [
    ({"served_mismatch": mismatch("tampering")}, ("poisoning", "model_tampering")),
    ({"served_mismatch": mismatch("wrong_version")}, ("fault", "pipeline_fault")),
    ({"served_mismatch": mismatch("mapping_error")}, ("fault", "pipeline_fault")),
    ({"label_agreement": labels(4.0)}, ("poisoning", "label_flip")),
    ({"label_agreement": labels(4.0, one_origin="feed")}, ("poisoning", "feedback_compromise")),
    ({"label_agreement": labels(-4.0)}, ("drift", "concept_drift")),
    ({"label_agreement": labels(None, trusted_excess=True)}, ("drift", "concept_drift")),
    ({"label_agreement": labels(None)}, ("inconclusive", None)),
    ({"version_disagreement": disagreement(4.0, status="ok")}, ("poisoning", "backdoor")),
    ({"version_disagreement": disagreement(4.0), "label_agreement": labels(-4.0)}, ("poisoning", "backdoor")),
    ({"version_disagreement": disagreement(-4.0), "label_agreement": labels(1.0)}, ("inconclusive", None)),
    ({"input_similarity": Evidence("input_similarity", "fired")}, ("drift", "covariate_drift")),
    ({"prediction_entropy": Evidence("prediction_entropy", "fired")}, ("drift", "covariate_drift")),
    ({"importance_drift": Evidence("importance_drift", "fired")}, ("drift", "covariate_drift")),
    (
        {"pipeline_fault": Evidence("pipeline_fault", "fired", facts={"confined": True, "features": ["bytes"]})},
        ("fault", "pipeline_fault"),
    ),
    ({"pipeline_fault": Evidence("pipeline_fault", "fired", facts={"confined": False})}, ("drift", "covariate_drift")),
    (
        {"version_disagreement": disagreement(4.0), "label_agreement": Evidence("label_agreement", "error", note="x")},
        ("poisoning", "backdoor"),
    ),
    (
        {"version_disagreement": disagreement(-4.0), "label_agreement": Evidence("label_agreement", "error", note="x")},
        ("inconclusive", None),
    ),
    (
        {"served_mismatch": mismatch("wrong_version"), "version_disagreement": disagreement(4.0)},
        ("poisoning", "backdoor"),
    ),
]


@pytest.mark.parametrize(("changed", "expected"), TABLE)
def test_the_table_of_contrasts(changed: dict[str, Evidence], expected: tuple[str, str | None]) -> None:
    assert outcome(judge(panel(**changed))) == expected


def test_a_suspicion_that_is_below_the_alarm_wants_labels_and_is_no_finding() -> None:
    verdict = judge(panel(version_disagreement=disagreement(None, status="ok")))
    assert (verdict.family, verdict.suspected) == ("stable", True)


@pytest.mark.parametrize(("llr", "answers"), [(1.0, 8), (4.0, 4)])
def test_no_labels_are_wanted_once_all_came_or_they_decided(llr: float, answers: int) -> None:
    verdict = judge(panel(version_disagreement=disagreement(llr, answers=answers)))
    assert not verdict.suspected


def test_what_counts_is_implicated_together() -> None:
    verdict = judge(panel(version_disagreement=disagreement(4.0), label_agreement=labels(4.0)))
    found = verdict.implicated
    assert verdict.detectors == ("version_disagreement", "label_agreement")
    assert found.features == {"service": "ftp"}
    assert (set(found.sources), found.origins, found.labels) == ({"s1", "s2"}, ("feed",), ("benign",))
    assert set(found.events) == {"e1", "e2"}


def test_what_does_not_count_is_not_implicated() -> None:
    noisy = Evidence("input_similarity", "fired", implicated=Implicated({"bytes": "large"}))
    verdict = judge(panel(version_disagreement=disagreement(4.0), input_similarity=noisy))
    assert "bytes" not in verdict.implicated.features


def test_reasons_say_what_changed_and_what_stayed_fixed() -> None:
    verdict = judge(panel(version_disagreement=disagreement(4.0)))
    assert verdict.reasons[0] == (
        "30 sessions are clearly attack for the last known good version, benign for the serving one, "
        "and share service = ftp; of 6 trusted labels 6 say that the serving version is wrong."
    )
    assert verdict.reasons[-1].startswith("Unchanged: ")
    assert "the inputs look like the reference" in verdict.reasons[-1]


def test_a_reason_names_what_contributed_most() -> None:
    moved = Evidence("input_similarity", "fired", top=(Contributor("bytes", 3.0), Contributor("port", 1.0)))
    assert judge(panel(input_similarity=moved)).reasons[0] == (
        "The inputs no longer look like the reference, most of all in bytes, port."
    )


def test_gravity_names_every_family_gravest_first() -> None:
    assert GRAVITY == ("poisoning", "evasion", "fault", "drift", "inconclusive", "stable")


def test_every_rule_is_explained_by_its_sentence() -> None:
    sentences = [rule.holds.__doc__ for rule in RULES]
    assert all(sentences)
    assert len(set(sentences)) == len(RULES)


@pytest.mark.parametrize(("drifted", "family"), [(["bytes_out"], "fault"), (["a", "b", "c"], "drift")])
def test_a_unit_that_changed_everywhere_is_a_fault_only_while_the_other_inputs_stay(
    drifted: list[str], family: str
) -> None:
    facts = {"cause": "unit", "features": ["bytes_out"], "everywhere": True, "confined": True}
    unit = Evidence("pipeline_fault", "fired", facts=facts)
    inputs = Evidence("input_similarity", "fired", facts={"drifted": drifted})
    assert judge(panel(pipeline_fault=unit, input_similarity=inputs)).family == family


def test_a_drift_beside_a_poisoning_is_reported_with_it() -> None:
    moved = Evidence("input_similarity", "fired", top=(Contributor("bytes", 9.0),))
    verdict = judge(panel(version_disagreement=disagreement(9.0), input_similarity=moved))
    assert outcome(verdict) == ("poisoning", "backdoor")
    assert verdict.also == (("drift", "covariate_drift"),)


def test_nothing_is_beside_a_verdict_that_is_undecided_or_alone() -> None:
    moved = Evidence("input_similarity", "fired", top=(Contributor("bytes", 9.0),))
    assert judge(panel(version_disagreement=disagreement(None), input_similarity=moved)).also == ()
    assert judge(panel(input_similarity=moved)).also == ()


def harm(llr: float | None) -> Evidence:
    facts = {"asked": 8, "wrong": 7, "harmed_class": "attack", "net_harm": 0.02}
    return Evidence("reference_harm", "fired", suspects=True, llr=llr, answers=8 if llr is not None else 0, facts=facts)


def test_harm_that_only_the_reference_shows_is_a_likely_regression_and_no_accusation() -> None:
    verdict = judge([*panel(), harm(9.0)])
    assert outcome(verdict) == ("fault", "regression")
    assert verdict.confidence < 0.7
    assert verdict.alternatives[0][0] == "label_flip"


def test_unanswered_harm_is_inconclusive_and_approved_change_is_drift() -> None:
    assert judge([*panel(), harm(None)]).family == "inconclusive"
    assert outcome(judge([*panel(), harm(-9.0)])) == ("drift", "concept_drift")


def test_harm_and_deep_disagreement_that_are_both_answered_against_the_version_are_poisoning() -> None:
    verdict = judge([*panel(version_disagreement=disagreement(9.0)), harm(9.0)])
    assert outcome(verdict) == ("poisoning", "backdoor")
