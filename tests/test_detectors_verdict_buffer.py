"""What the retraining buffer adds to the verdict: poison, regression, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from detectors.evidence import Evidence, Implicated
from detectors.verdict import judge


def version(llr: float = 4.0) -> Evidence:
    facts = {"compact": True, "asked": 8, "from_class": "attack", "to_class": "benign"}
    return Evidence("version_disagreement", "fired", suspects=True, llr=llr, answers=8, facts=facts)


def buffer(status: str = "ok", llr: float | None = None, **facts: Any) -> Evidence:
    pointed = Implicated({"port": 7.0}, ("s1",), (), ("benign",), ("row1",))
    seen = {"seen": True, "clean": False, "pending": False, "convicted": False} | facts
    return Evidence("retraining_buffer", status, llr=llr, answers=8, facts=seen, implicated=pointed)  # type: ignore[arg-type]  # a status


@pytest.mark.parametrize("kind", ["backdoor", "clean_label", "label_flip"])
def test_false_labels_in_the_buffer_are_poisoning_before_any_event_is_odd(kind: str) -> None:
    guilty = buffer("fired", 5.0, convicted=True, kind=kind, to_class="benign", rows=40, answered=8, false=8)
    verdict = judge([guilty, Evidence("version_disagreement", "ok")])
    assert (verdict.family, verdict.hypothesis) == ("poisoning", kind)
    assert verdict.confidence > 0.95
    assert verdict.implicated.features == {"port": 7.0}
    assert verdict.implicated.events == ("row1",)
    assert "training buffer" in verdict.reasons[0]


def test_a_version_that_is_wrong_with_a_clean_buffer_has_regressed() -> None:
    verdict = judge([version(), buffer(clean=True)])
    assert (verdict.family, verdict.hypothesis) == ("fault", "regression")
    assert dict(verdict.alternatives).keys() == {"clean_label"}


def test_without_a_buffer_a_wrong_version_is_poisoned_and_a_regression_is_an_alternative() -> None:
    unseen = Evidence("retraining_buffer", "warming", facts={"seen": False})
    for evidence in ([version()], [version(), unseen]):
        verdict = judge(evidence)
        assert (verdict.family, verdict.hypothesis) == ("poisoning", "backdoor")
        assert "regression" in dict(verdict.alternatives)


def test_a_buffer_in_question_is_waited_for_and_then_not_taken_for_clean() -> None:
    assert judge([version(), buffer(pending=True)]).family == "inconclusive"
    assert judge([version(), buffer(pending=False)]).family == "poisoning"


def test_open_questions_about_rows_alone_open_no_incident() -> None:
    verdict = judge([Evidence("version_disagreement", "ok"), buffer(pending=True, asked=0)])
    assert (verdict.family, verdict.suspected) == ("stable", False)
    assert not any("no false label" in reason for reason in verdict.reasons)


def test_an_approved_version_with_an_acquitted_buffer_is_drift() -> None:
    assert judge([version(-4.0), buffer(clean=True)]).family == "drift"


def test_carriers_of_what_the_buffer_taught_are_poisoning_though_no_row_is_false() -> None:
    taught = buffer("fired", 4.0, convicted=True, kind="clean_label", to_class="benign")
    verdict = judge([version(), taught])
    assert (verdict.family, verdict.hypothesis) == ("poisoning", "clean_label")
    assert "taught" in verdict.reasons[0]
