"""The parts of the search for pipeline faults: bounds that borrow, signs, units, the end of a fault."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.batch import Floats
from detectors.faults.open_faults import OpenFault
from detectors.faults.recent_sessions import RecentSessions
from detectors.faults.shrunken_rates import shrunken_bound
from detectors.faults.signs import Columns, Sign, read
from detectors.faults.unit_change import changed_unit
from detectors.schema import UNSEEN, Feature


@pytest.mark.parametrize(("a", "b"), [(1e6, 9e6), (5.0, 45.0), (0.5, 20.0)])  # alike; some differences; many
@pytest.mark.parametrize("sessions", [40, 300])
def test_bounds_hold_for_sources_that_are_alike_and_for_others(a: float, b: float, sessions: int) -> None:
    rng = np.random.default_rng(1)
    rates = rng.beta(a, b, (12, 4000))
    bound = shrunken_bound(rng.binomial(sessions, rates).astype(float), np.full((12, 4000), float(sessions)), 0.999)
    assert np.mean(rates > bound) <= 0.004


def test_a_source_without_a_past_is_not_bounded() -> None:
    assert shrunken_bound(np.zeros((3, 1)), np.array([[50.0], [50.0], [0.0]]), 0.99)[2, 0] == 1.0


NUMBER = Feature("n")


def numbers(n: int, seed: int) -> tuple[Floats, Floats]:
    """Values [n] and those of their neighbours [n, 10]."""
    rng = np.random.default_rng(seed)
    centre = 3 + 1.5 * rng.normal(size=n)
    return np.exp(centre + 0.4 * rng.normal(size=n)), np.exp(centre[:, None] + 0.4 * rng.normal(size=(n, 10)))


@pytest.mark.parametrize(
    ("ratio", "undo"), [(8.0, "x / 8"), (1000.0, "x / 1000"), (1e-3, "x * 1000"), (60.0, "x / 60"), (37.0, None)]
)
def test_a_unit_is_named(ratio: float, undo: str | None) -> None:
    (past, near_past), (now, near_now) = numbers(300, 1), numbers(150, 2)
    found = changed_unit(now * ratio, past, near_now, near_past, 5.0)
    assert found is not None
    assert found.undo == undo or (undo is None and abs(np.log(float(found.undo.split()[-1]) / ratio)) < 0.2)


def test_a_logarithm_is_undone() -> None:
    (past, near_past), (now, near_now) = numbers(300, 3), numbers(150, 4)
    found = changed_unit(np.log1p(now), past, near_now, near_past, 5.0)
    assert found is not None
    assert found.undo == "exp(x) - 1"


@pytest.mark.parametrize(("factor", "spread"), [(1.0, 0.0), (3.0, 0.0), (10.0, 1.5)])
def test_growth_that_is_small_or_differs_between_events_is_no_unit(factor: float, spread: float) -> None:
    (past, near_past), (now, near_now) = numbers(300, 5), numbers(150, 6)
    grown = now * factor * np.exp(spread * np.random.default_rng(7).normal(size=len(now)))
    assert changed_unit(grown, past, near_now, near_past, 5.0) is None


def test_an_inverted_bit_is_told_from_one_that_is_set_more_often() -> None:
    rng = np.random.default_rng(8)
    likely = rng.random(200) < 0.5
    near = (rng.random((200, 10)) < np.where(likely, 0.9, 0.1)[:, None]).astype(float)
    bit = (rng.random(200) < np.where(likely, 0.9, 0.1)).astype(float)
    more = np.maximum(bit, (rng.random(200) < 0.4).astype(float))
    found = read(Columns(Feature("b", "binary"), 1 - bit, bit, near, near), 5.0)
    assert found is not None
    assert found.cause == "inverted"
    assert read(Columns(Feature("b", "binary"), more, bit, near, near), 5.0) is None


def test_a_renamed_value_is_told_from_a_new_one() -> None:
    feature = Feature("service", "categorical", ("http", "dns", "ssh"))
    past = np.repeat([0.0, 1.0, 2.0], [60, 30, 10])
    near = np.repeat(past[:, None], 10, axis=1)
    renamed = np.where(past == 1, UNSEEN, past)
    new = np.where(np.arange(100) % 5 == 0, UNSEEN, past)
    found = read(Columns(feature, renamed, past, near, near), 5.0)
    assert found is not None
    assert (found.cause, found.undo) == ("unseen", "unseen value = dns")
    assert read(Columns(feature, new, past, near, near), 5.0) is None


def test_a_few_nulls_more_in_a_handful_of_sessions_are_chance() -> None:
    past = np.where(np.arange(200) % 12 == 0, np.nan, 1.0)
    near = np.ones((200, 10))
    few = np.where(np.arange(17) < 3, np.nan, 1.0)
    many = np.where(np.arange(17) < 8, np.nan, 1.0)
    assert read(Columns(Feature("n"), few, past, near[:17], near), 5.0) is None
    found = read(Columns(Feature("n"), many, past, near[:17], near), 5.0)
    assert found is not None
    assert found.cause == "nulls"


def test_a_fault_is_over_when_its_feature_is_as_before_for_long_enough() -> None:
    broken = np.full(30, np.nan)
    fault = OpenFault.found(1, 0, Sign("nulls", "", "", "null"), 0, broken, np.ones(300))
    over = []
    for column in (np.ones(15), np.full(10, np.nan), np.ones(15), np.ones(15)):
        fault.observe(column)
        over.append(fault.over)
    assert over == [False, False, False, True]  # 15 sessions are too few, and nulls begin the count anew
    assert OpenFault.restored(fault.state()) == fault


def test_a_partial_fault_needs_more_sessions_to_be_over() -> None:
    fault = OpenFault.found(1, 0, Sign("nulls", "", "", "null"), 0, np.repeat([np.nan, 1.0], [10, 23]), np.ones(300))
    over = []
    for column in (np.ones(20), np.ones(20)):
        fault.observe(column)
        over.append(fault.over)
    assert over == [False, True]


def test_what_is_held_of_the_stream_is_bounded() -> None:
    recent = RecentSessions(1000)
    for _ in range(8):
        recent.add(np.zeros((100, 1000)), np.ones(100, np.int64))
    assert recent.state()["x"].size <= 500_000
