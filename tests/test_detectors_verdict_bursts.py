"""Evasion beside a broken feature: what a fault makes any model miss is no attack, what is missed elsewhere is."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.evidence import Evidence
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


def test_suspects_at_the_broken_source_do_not_hold_the_fault_back() -> None:
    assert judge([burst({"s1": 16}, None), broken("s1")]).family == "fault"
    assert judge([burst({"s1": 8, "s2": 8}, None), broken("s1")]).family == "inconclusive"
