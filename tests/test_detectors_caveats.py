"""Every verdict says what it was reached with, in two sentences, and what would decide it where it is not decided."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.evidence import Contributor, Evidence, Implicated, Status
from detectors.fusion.caveats import TENTATIVE
from detectors.fusion.wording import LEVELS, summary
from detectors.verdict import Verdict, judge

ADVICE = "Do something sensible."
NAMES = ("importance_drift", "input_similarity", "pipeline_fault", "prediction_entropy", "served_mismatch")


def disagreement(llr: float | None, *, status: Status = "fired", answers: int = 6, **facts: Any) -> Evidence:
    found = {"asked": 8, "wrong": 6, "deep_sessions": 30, "from_class": "attack", "to_class": "benign", "compact": True}
    implicated = Implicated({"service": "ftp"}, ("fw1",), (), ("benign",), ("e1", "e2", "e3", "e4"))
    return Evidence(
        "version_disagreement", status, suspects=status == "fired", llr=llr, answers=answers if llr is not None else 0,
        implicated=implicated, facts=found | facts,
    )  # fmt: skip


def flips(llr: float | None, *, status: Status = "fired") -> Evidence:
    facts = {"asked": 8, "false": 6, "scope": "source:fw1", "from_class": "attack", "to_class": "benign"}
    return Evidence(
        "label_agreement", status, suspects=status == "fired", llr=llr, answers=0 if llr is None else 6, facts=facts
    )


def panel(*changed: Evidence, shadow: bool = False) -> list[Evidence]:
    given_ = {e.detector: e for e in changed}
    names = (*NAMES, "version_disagreement", "label_agreement")
    made = [given_.get(name, Evidence(name, "ok")) for name in names]
    return [replace(e, facts={**e.facts, "lkg": "shadow"}) for e in made] if shadow else made


ratios = st.one_of(st.none(), st.floats(-8, 8))
statuses: st.SearchStrategy[Status] = st.sampled_from(["ok", "fired", "error", "warming"])


@st.composite
def panels(draw: st.DrawFn) -> list[Evidence]:
    looks = {"looks_like": draw(st.sampled_from(["tampering", "wrong_version"])), "confined": draw(st.booleans())}
    top = (Contributor("source:-", 1.0),) if draw(st.booleans()) else ()
    plain = [Evidence(name, draw(statuses), facts=looks, top=top, note="boom") for name in NAMES]
    asked = disagreement(draw(ratios), status=draw(statuses), compact=draw(st.booleans()))
    return panel(*plain, asked, flips(draw(ratios), status=draw(statuses)), shadow=draw(st.booleans()))


@given(panels())
def test_a_summary_is_two_sentences_and_says_the_level(evidence: list[Evidence]) -> None:
    verdict = judge(evidence)
    told = summary(verdict, ADVICE)
    assert told.endswith(".")
    assert len(re.findall(r"\.(?= |$)", told)) == 2
    assert f"(level {verdict.level}, {LEVELS[verdict.level]})" in told


@given(panels())
def test_what_is_not_decided_says_what_would_decide_it(evidence: list[Evidence]) -> None:
    verdict = judge(evidence)
    assert bool(verdict.decider) == (verdict.family == "inconclusive" or verdict.tentative)
    assert f"what would decide it: {verdict.decider}" in summary(verdict, ADVICE) or not verdict.decider


@given(panels())
def test_a_shadow_never_makes_a_confident_verdict_and_nothing_else_makes_a_tentative_one(
    evidence: list[Evidence],
) -> None:
    verdict = judge(evidence)
    shadow = any(e.facts.get("lkg") == "shadow" for e in evidence)
    asking = {"version_disagreement", "label_agreement"} & set(verdict.detectors)
    decided = verdict.family not in ("stable", "inconclusive")
    assert verdict.tentative == bool(shadow and decided and set(verdict.detectors) - set(NAMES[1:]))
    if shadow and asking and decided:
        assert verdict.confidence <= TENTATIVE
        assert sum(p for _, p in verdict.attribution) == pytest.approx(1.0)
        assert "Only suspected, as a shadow model" in summary(verdict, ADVICE)


def test_poisoning_by_a_shadow_keeps_its_name_and_loses_its_certainty() -> None:
    sure, unsure = (judge(panel(disagreement(6.0), shadow=shadow)) for shadow in (False, True))
    assert (sure.family, sure.hypothesis, unsure.family, unsure.hypothesis) == ("poisoning", "backdoor") * 2
    assert sure.confidence > 0.99
    assert unsure.confidence == TENTATIVE
    assert not sure.tentative
    assert unsure.weaker
    assert "a last known good version that somebody vouches for" in unsure.decider


def test_tampering_needs_no_last_known_good_version_and_stays_sure_beside_a_shadow() -> None:
    served = Evidence("served_mismatch", "fired", facts={"looks_like": "tampering", "differing": 9})
    verdict = judge(panel(served, shadow=True))
    assert (verdict.hypothesis, verdict.tentative) == ("model_tampering", False)


@pytest.mark.parametrize(
    ("evidence", "level"),
    [
        ([Evidence("input_similarity", "fired"), Evidence("version_disagreement", "warming")], 0),
        ([Evidence("label_agreement", "ok"), Evidence("version_disagreement", "warming")], 1),
        ([Evidence("label_agreement", "warming"), Evidence("version_disagreement", "ok")], 2),
        ([Evidence("version_disagreement", "ok"), Evidence("retraining_buffer", "ok", facts={"seen": True})], 3),
        ([Evidence("version_disagreement", "error"), Evidence("label_agreement", "error")], 0),
    ],
)
def test_the_level_is_what_the_detectors_looked_at(evidence: list[Evidence], level: int) -> None:
    assert judge(evidence).level == level


def test_importance_from_a_surrogate_is_marked_as_weaker() -> None:
    for weaker in (True, False):
        verdict = judge(panel(Evidence("importance_drift", "fired", facts={"weaker": weaker})))
        assert verdict.family == "drift"
        assert any("scores as served" in why for why in verdict.weaker) == weaker
        assert ("weaker than usual, as importance was read off" in summary(verdict, ADVICE)) == weaker


def test_drift_without_a_version_to_compare_with_says_what_may_hide_behind_it() -> None:
    moved, blind = Evidence("input_similarity", "fired"), Evidence("version_disagreement", "warming")
    assert any("poisoning behind it" in why for why in judge(panel(moved, blind)).weaker)
    assert judge(panel(moved)).weaker == ()


def undecided(**change: Any) -> Verdict:
    return judge(panel(disagreement(None, **change)))


def test_the_wanted_labels_are_named_with_their_classes_and_how_many() -> None:
    assert undecided().decider == "about 4 trusted labels of e1, e2, e3 (attack or benign)"
    some = judge(panel(disagreement(1.2, answers=2)))
    assert some.decider == "about 2 more trusted labels of e1, e2, e3 (attack or benign)"
    assert undecided(wanted=["e4"]).decider.startswith("about 4 trusted labels of e4 ")


def test_trusted_origins_that_contradict_each_other_are_named() -> None:
    verdict = judge(panel(disagreement(0.5, opposed_origins=["ann", "mole"], answering_origins={"ann": 6, "mole": 6})))
    assert verdict.family == "inconclusive"
    assert verdict.decider.startswith("who of ann and mole labels truly")
    assert "while ann and mole contradict each other" in summary(verdict, ADVICE)


def test_a_conviction_on_one_word_says_whose() -> None:
    verdict = judge(panel(disagreement(6.0, answering_origins={"ann": 6})))
    assert "6 say that the serving version is wrong, all by ann" in summary(verdict, ADVICE)


def test_fields_and_checkpoints_that_are_missing_are_named() -> None:
    nowhere = replace(disagreement(None), top=(Contributor("source:-", 1.0),))
    assert "the field `source` in events" in judge(panel(nowhere)).decider
    assert "an `id` of their own for 5 events" in undecided(repeated_ids=5).decider
    blind = Evidence("version_disagreement", "warming")
    alone = judge(panel(flips(None), blind))
    assert "the checkpoints (ONNX) of the serving and of the last known good version" in alone.decider
    broken = judge(panel(Evidence("pipeline_fault", "error", note="boom")))
    assert broken.decider.startswith("the detector pipeline_fault working again")


def test_a_version_that_is_compared_with_itself_is_not_said_to_be_clean() -> None:
    same = Evidence("version_disagreement", "ok", facts={"lkg": "itself"})
    assert any("would not show" in reason for reason in judge(panel(same)).reasons[1:])
    assert not judge(panel(same)).weaker


def test_what_stayed_fixed_is_in_the_first_sentence() -> None:
    told = summary(judge(panel(Evidence("input_similarity", "fired"))), ADVICE)
    first = told.split(". ")[0]
    assert first.startswith("The inputs no longer look like the reference; unchanged: ")


def test_the_confidence_of_an_honest_change_seen_by_a_shadow_is_capped_too() -> None:
    verdict = judge(panel(disagreement(-6.0), shadow=True))
    assert (verdict.family, verdict.tentative) == ("drift", True)
    assert verdict.confidence == TENTATIVE
    assert np.isclose(dict(verdict.attribution)["backdoor"], 1 - TENTATIVE)
