"""Evasion beside a broken feature: what a fault makes any model miss is no attack, what is missed elsewhere is."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.evidence import Evidence, Implicated
from detectors.verdict import judge

GATE = float(np.log(20))


def burst(seen_at: dict[str, int], llr: float | None) -> Evidence:
    facts = {"asked": 12, "ask_limit": 16, "wrong": 9, "right": 3, "convicted": True, "seen_at": seen_at}
    return Evidence("evasion_burst", "fired", suspects=True, llr=llr, answers=12 if llr else 0, facts=facts)


def broken(*sources: str, everywhere: bool = False) -> Evidence:
    facts = {
        "confined": True, "features": ["bytes"], "sources": list(sources), "everywhere": everywhere, "cause": "unit",
    }  # fmt: skip
    return Evidence("pipeline_fault", "fired", facts=facts)


@pytest.mark.parametrize(
    ("seen_at", "fault", "family"),
    [
        ({"s1": 8, "s2": 2}, broken("s1"), "fault"),
        ({"s1": 7, "s2": 3}, broken("s1"), "evasion"),
        ({"s1": 4, "s2": 6}, broken("s1", "s2"), "fault"),
        ({"s3": 9}, broken(everywhere=True), "fault"),
        ({"s3": 9}, broken("s1"), "evasion"),
    ],
)
def test_what_is_missed_where_a_feature_is_broken_is_the_faults(
    seen_at: dict[str, int], fault: Evidence, family: str
) -> None:
    assert judge([burst(seen_at, GATE + 1), fault]).family == family


def test_evasion_that_hides_behind_a_broken_feature_is_told_beside_the_fault() -> None:
    assert judge([burst({"s1": 30}, 6.0), broken("s1")]).also == (("evasion", "evasion_burst"),)
    assert judge([burst({"s1": 30}, None), broken("s1")]).also == ()


def test_suspects_at_the_broken_source_do_not_hold_the_fault_back() -> None:
    assert judge([burst({"s1": 16}, None), broken("s1")]).family == "fault"
    assert judge([burst({"s1": 8, "s2": 8}, None), broken("s1")]).family == "inconclusive"


def probed(source: str, *, concentration: float = 1.0) -> list[Evidence]:
    """The version is wrong where it parts from the last known good one, all at s1; somebody at ``source`` probes."""
    facts = {"asked": 8, "wrong": 8, "from_class": "attack", "to_class": "benign", "deep_sessions": 24}
    versions = Evidence(
        "version_disagreement",
        "fired",
        suspects=True,
        llr=6.0,
        answers=8,
        implicated=Implicated(sources=("s1",)),
        facts=facts | {"compact": False, "source_concentration": concentration},
    )
    buffer = Evidence("retraining_buffer", "ok", facts={"seen": True, "clean": True, "pending": False})
    walk = {"asked": 8, "ask_limit": 16, "wrong": 1, "right": 3, "convicted": False, "seen_at": {source: 9}}
    return [versions, buffer, Evidence("probing", "fired", suspects=True, facts=walk)]


def test_a_weak_spot_that_one_source_has_found_by_probing_is_evasion_with_the_regression_beside_it() -> None:
    verdict = judge(probed("s1"))
    assert (verdict.family, verdict.hypothesis) == ("evasion", "probing")
    assert ("fault", "regression") in verdict.also


def test_a_regression_that_shows_elsewhere_than_somebody_probes_stays_one() -> None:
    assert judge(probed("s2")).hypothesis == "regression"
    assert judge(probed("s1", concentration=0.6)).hypothesis == "regression"
