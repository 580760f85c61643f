"""False labels that noise or a labeller in error may have made are a suspicion, and it is said what they may be."""

from __future__ import annotations

from typing import Any

import pytest

from detectors.evidence import Evidence, Implicated
from detectors.verdict import judge


def labels(llr: float | None, **facts: Any) -> Evidence:
    found = {"asked": 8, "false": 6, "scope": "all", "from_class": "attack", "to_class": "benign", "one_origin": "feed"}
    return Evidence(
        "label_agreement", "fired", suspects=True, llr=llr, answers=6 if llr is not None else 0,
        implicated=Implicated(origins=("feed",)), facts=found | facts,
    )  # fmt: skip


@pytest.mark.parametrize(("doubt", "why"), [("noise", "honest noise"), ("labeller", "in error")])
def test_false_labels_that_may_be_honest_are_a_suspicion(doubt: str, why: str) -> None:
    verdict = judge([labels(4.0, tentative=doubt)])
    assert (verdict.family, verdict.tentative) == ("poisoning", True)
    assert verdict.confidence == 0.8
    assert why in verdict.weaker[0]
    assert judge([labels(4.0, tentative="")]).tentative is False


def test_labels_are_wanted_on_while_false_ones_may_be_noise() -> None:
    assert judge([labels(4.0, tentative="noise", reopened=True)]).suspected is True
    assert judge([labels(4.0, tentative="noise", reopened=False)]).suspected is False


def test_one_labeller_who_always_labelled_so_may_be_in_error_and_his_history_would_decide() -> None:
    verdict = judge([labels(2.9, since_first_label=True)])
    assert verdict.family == "inconclusive"
    assert {name for name, _ in verdict.alternatives} == {"feedback_compromise", "label_error"}
    assert "how feed labelled such events earlier" in verdict.decider


def test_one_labeller_who_changed_may_still_be_in_error() -> None:
    verdict = judge([labels(4.0)])
    assert (verdict.hypothesis, verdict.tentative) == ("feedback_compromise", False)
    assert "label_error" in dict(verdict.alternatives)


def test_what_convicts_beside_false_labels_is_no_suspicion() -> None:
    version = Evidence("version_disagreement", "fired", suspects=True, llr=4.0, answers=6, facts={"compact": True})
    assert judge([version, labels(4.0, tentative="noise")]).tentative is False


def test_labels_that_nobody_seconds_are_a_suspicion_where_nobody_answers() -> None:
    found = {"unvetted": True, "foremost": "source:s9", "seconded": 0.02}
    verdict = judge([labels(None, **found)])
    assert (verdict.family, verdict.tentative, verdict.confidence) == ("poisoning", True, 0.7)
    assert "labels of other sources contradict it in 2%" in verdict.reasons[0]
    assert judge([labels(None, **found, trusted_excess=True)]).family == "drift"
