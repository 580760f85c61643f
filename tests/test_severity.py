"""How grave an incident is follows a table, and never falls where anything about it gets worse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.evidence import Evidence
from detectors.verdict import GRAVITY
from monitor.incidents.severity import BASE, RESPONSES, Response, response_of, severity, touched
from monitor.messages import ActionTaken

FAMILIES = st.sampled_from(sorted(BASE))
STATUSES = st.sampled_from(["suspected", "confirmed"])
SHARES = st.none() | st.floats(0, 1)
ANSWERS = st.sampled_from(RESPONSES)
PROBABILITIES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("family", "status", "confidence", "share", "response", "expected"),
    [
        ("poisoning", "confirmed", 0.99, None, "none", 9),
        ("poisoning", "confirmed", 0.99, 0.0001, "contained", 9),
        ("poisoning", "confirmed", 0.99, 0.9, "none", 9),
        ("poisoning", "confirmed", 0.99, 0.01, "stuck", 10),
        ("poisoning", "confirmed", 0.6, None, "none", 8),
        ("poisoning", "suspected", 0.8, 0.5, "none", 5),
        ("inconclusive", "suspected", 0.9, 0.9, "stuck", 2),
        ("inconclusive", "confirmed", 0.1, None, "none", 5),
        ("evasion", "confirmed", 0.9, 0.6, "none", 9),
        ("evasion", "confirmed", 0.4, 0.001, "none", 5),
        ("fault", "confirmed", 0.9, None, "contained", 5),
        ("drift", "confirmed", 0.9, None, "none", 3),
        ("drift", "confirmed", 0.1, 0.001, "contained", 1),
    ],
)
def test_the_table(
    family: str, status: str, confidence: float, share: float | None, response: Response, expected: int
) -> None:
    assert severity(family, status, confidence, share, response) == expected


@given(FAMILIES, STATUSES, PROBABILITIES, PROBABILITIES, SHARES, ANSWERS)
def test_a_surer_incident_is_no_less_severe(
    family: str, status: str, one: float, other: float, share: float | None, response: Response
) -> None:
    less, more = sorted((one, other))
    assert severity(family, status, less, share, response) <= severity(family, status, more, share, response)


@given(FAMILIES, STATUSES, PROBABILITIES, PROBABILITIES, PROBABILITIES, ANSWERS)
def test_one_that_touches_more_is_no_less_severe(
    family: str, status: str, confidence: float, one: float, other: float, response: Response
) -> None:
    less, more = sorted((one, other))
    assert severity(family, status, confidence, less, response) <= severity(family, status, confidence, more, response)


@given(FAMILIES, STATUSES, PROBABILITIES, SHARES)
def test_a_response_that_is_stuck_is_no_less_severe_than_none_nor_that_than_one_that_is_done(
    family: str, status: str, confidence: float, share: float | None
) -> None:
    grades = [severity(family, status, confidence, share, response) for response in RESPONSES]
    assert grades == sorted(grades)


@given(PROBABILITIES, SHARES, ANSWERS)
def test_a_graver_family_is_no_less_severe(confidence: float, share: float | None, response: Response) -> None:
    decided = [family for family in GRAVITY if family not in {"stable", "inconclusive"}]
    grades = [severity(family, "confirmed", confidence, share, response) for family in decided]
    assert grades == sorted(grades, reverse=True)


@given(FAMILIES, PROBABILITIES, SHARES, ANSWERS)
def test_a_suspicion_is_no_more_severe_than_what_is_confirmed_and_pages_nobody(
    family: str, confidence: float, share: float | None, response: Response
) -> None:
    suspected = severity(family, "suspected", confidence, share, response)
    assert 1 <= suspected <= min(5, severity(family, "confirmed", confidence, share, response))


def test_the_share_is_the_largest_that_a_detector_behind_the_verdict_sees() -> None:
    evidence = [
        Evidence("version_disagreement", "fired", gauges={"disagreement_rate": 0.02}),
        Evidence("served_mismatch", "ok", gauges={"mismatch_rate": 0.5}),
        Evidence("probing", "fired", gauges={"linked_rate": 0.1}),
        Evidence("input_similarity", "fired", gauges={"mmd": 3.0}),
    ]
    assert touched(evidence, ("version_disagreement", "probing")) == 0.1
    assert touched(evidence, ("input_similarity",)) is None
    assert touched([Evidence("probing", "fired", gauges={"linked_rate": float("nan")})], ("probing",)) is None


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([], "none"),
        ([("rollback", "proposed")], "none"),
        ([("rollback", "declined")], "none"),
        ([("rollback", "running")], "none"),
        ([("rollback", "done"), ("retraining", "running")], "contained"),
        ([("retraining", "done")], "none"),
        ([("rollback", "done"), ("promotion", "halted")], "stuck"),
    ],
)
def test_what_was_done_taken_together(results: list[tuple[str, str]], expected: str) -> None:
    taken = [ActionTaken(action, "1", f"k{i}", result) for i, (action, result) in enumerate(results)]  # type: ignore[arg-type]
    assert response_of(taken) == expected


def test_the_page_has_the_bases_of_the_code() -> None:
    page = (Path(__file__).parent.parent / "docs" / "siem" / "severity.md").read_text()
    heading = re.search(r"^\| \| (.+) \|$", page, re.MULTILINE)
    bases = re.search(r"^\| \*\*base\*\* \| (.+) \|$", page, re.MULTILINE)
    assert heading is not None
    assert bases is not None
    told = dict(zip(heading[1].split(" | "), map(int, bases[1].split(" | ")), strict=True))
    assert told == BASE
