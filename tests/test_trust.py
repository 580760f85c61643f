"""Reputation and weights: what audited outcomes do, what volume cannot, and what looks odd."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.schema import Feature, Schema
from rollback.retraining.about import About
from rollback.sanitise.rows import Rows, Sanitised
from rollback.trust.consistency import Parameters as Oddness
from rollback.trust.consistency import consistency
from rollback.trust.reputation import DAY, Outcome, Parameters, Reputation
from rollback.trust.weights import event_time, weigh

SCHEMA = Schema((Feature("a"), Feature("b"), Feature("c", "categorical", ("x", "y"))), ("attack", "benign"))
COUNTS = st.integers(0, 50)
TIMES = st.floats(0, 1000 * DAY)


def outcome(good: int, bad: int, at: float = 0.0, ref: str = "1", name: str = "s") -> Outcome:
    return Outcome("source", name, at, good, bad, ref, "test")


@given(known=st.lists(st.tuples(COUNTS, COUNTS, TIMES), max_size=4), count=st.integers(1, 50), now=TIMES)
def test_a_good_outcome_never_lowers_trust_and_a_bad_one_never_raises_it(
    known: list[tuple[int, int, float]], count: int, now: float
) -> None:
    before = Reputation(tuple(outcome(g, b, at, str(i)) for i, (g, b, at) in enumerate(known)))
    trust = before.trust("source", "s", now)
    assert before.learned([outcome(count, 0, now, "new")]).trust("source", "s", now) >= trust
    assert before.learned([outcome(0, count, now, "new")]).trust("source", "s", now) <= trust
    assert 0 < trust < 1


@given(good=COUNTS, bad=COUNTS)
def test_outcomes_fade_back_to_the_prior(good: int, bad: int) -> None:
    known = Reputation((outcome(good, bad),))
    distances = [abs(known.trust("source", "s", day * DAY) - 0.5) for day in (0, 90, 180, 3650)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-6 + 1e-3 * (good + bad > 0)


@given(count=st.integers(8, 10**9))
def test_nobody_buys_trust_with_volume(count: int) -> None:
    most = Parameters().most
    trust = Reputation((outcome(count, 0),)).trust("source", "s", 0.0)
    assert trust == pytest.approx((2 + most) / (4 + most))


def test_a_decision_that_is_taken_again_counts_once() -> None:
    once = Reputation().learned([outcome(0, 4)])
    assert once.learned([outcome(0, 4)]) == once
    assert once.learned([outcome(4, 0)]).trust("source", "s", 0.0) > 0.5


def test_whoever_comes_under_a_new_name_starts_at_the_prior() -> None:
    known = Reputation((outcome(8, 0),))
    assert known.trust("source", "s", 0.0) > known.trust("source", "somebody", 0.0) == 0.5


def test_parameters_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="half_life: must be above 0"):
        Parameters(half_life=0)
    with pytest.raises(ValueError, match="tail"):
        Oddness(tail=0.7)


def drawn(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=n), rng.lognormal(size=n), rng.integers(0, 2, n)])
    return Rows(SCHEMA, x, rng.integers(0, 2, n), np.full(n, "s"), np.arange(n).astype(np.str_))


def test_of_rows_that_are_drawn_like_the_base_about_as_many_weigh_less_as_is_said() -> None:
    level = Oddness().level
    shares, lost = [], []
    for seed in range(40):
        weight = consistency(drawn(1500, seed), drawn(500, seed + 1000))
        shares.append(np.mean(weight < 1))
        lost.append(1 - weight.mean())
    assert np.mean(shares) < 1.5 * level
    assert np.mean(lost) < level


def test_an_odd_row_weighs_less() -> None:
    base, new = drawn(1000, 1), drawn(3, 2)
    x = np.array([[0.0, 1.0, 0.0], [99.0, 1.0, -1.0], [99.0, 1e9, np.nan]])
    weight = consistency(base, Rows(SCHEMA, x, new.y, new.source, new.session))
    assert weight[0] == 1.0
    assert weight[1] < 0.1
    assert weight[2] <= weight[1]


def test_a_label_without_enough_trusted_rows_says_nothing() -> None:
    base, new = drawn(60, 1), drawn(50, 2)
    assert np.all(consistency(base.take(base.y == 0), new)[new.y == 1] == 1.0)


def test_a_row_weighs_as_much_as_the_least_trusted_of_its_suppliers_and_less_where_disputed() -> None:
    rows = drawn(4, 3)
    about = About(
        id=np.arange(4).astype(np.str_),
        digest=np.full(4, ""),
        source=np.array(["good", "bad", "good", "-"]),
        origin=np.array(["-", "-", "crowd", "-"]),
        session=np.arange(4).astype(np.str_),
        ts=np.full(4, np.nan),
        disputed=np.array([False, False, True, False]),
    )
    known = Reputation((outcome(8, 0, name="good"), outcome(0, 8, ref="2", name="bad")))
    no = np.zeros(4, np.bool_)
    blank = np.full(4, "")
    found = Sanitised(no, blank, blank, np.full(4, np.nan), np.array([1.0, 1.0, 1.0, 0.0]), (), {}, ())
    base = drawn(10, 4)  # too few rows for consistency to say anything
    weighed, why = weigh(found, base, rows, about, known)
    assert weighed.weight.tolist() == pytest.approx([10 / 12, 2 / 12, 0.25, 0.0])
    assert why[2] == "trust 0.50, consistency 1.00, disputed label"


def test_a_row_of_the_far_future_does_not_make_a_bad_record_fade() -> None:
    n = 11
    blank = np.full(n, "-")
    ts = np.array([DAY] * (n - 1) + [1e12])
    about = About(blank, blank, np.full(n, "bad"), blank, np.arange(n).astype(np.str_), ts, np.zeros(n, np.bool_))
    known = Reputation((outcome(0, 8, name="bad"),))
    assert event_time(about, known) == DAY
    assert event_time(about.take(slice(0, 0)), known) == known.latest
