"""How many attacks passed: the limits hold as often as they claim, also where events come in sessions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.hunt.estimate import LEVEL, Interval, Null, honest_events, honest_sessions, passed, scaled_up
from rollback.hunt.session_tally import SessionTally


@pytest.mark.parametrize(
    ("rate", "reference", "stream"),
    [(0.0, 300, 5000), (0.002, 900, 20_000), (0.01, 800, 300), (0.05, 250, 20_000), (0.3, 100, 100)],
)
def test_honest_sessions_are_predicted_as_often_as_claimed(rate: float, reference: int, stream: int) -> None:
    rng = np.random.default_rng([1, reference])
    held = 0
    for _ in range(300):
        limits = honest_sessions(Null(int(rng.binomial(reference, rate)), reference, 6.0), stream, 6.0)
        held += limits.low <= rng.binomial(stream, rate) <= limits.high
    assert held >= 300 * LEVEL


def churned(rng: np.random.Generator, sessions: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of sessions, and in how many of their events versions part: few sessions have all of the churn."""
    lengths = rng.geometric(1 / 6, sessions)
    return lengths, rng.binomial(lengths, np.where(rng.random(sessions) < 0.1, rng.beta(1, 3, sessions), 0.0))


@pytest.mark.parametrize("attacks", [0, 15, 400])
def test_attacks_lie_within_the_limits_where_churn_comes_in_sessions(attacks: int) -> None:
    rng = np.random.default_rng([2, attacks])
    held = {"sessions": 0, "events": 0}
    widths = []
    for _ in range(200):
        lengths, parted = churned(rng, 250)
        null = Null(int(np.count_nonzero(parted)), 250, float(lengths.mean()))
        lengths, parted = churned(rng, 3000)
        attack = rng.geometric(1 / 2, attacks)
        differing = np.concatenate([parted[parted > 0], attack])
        total = 3000 + attacks
        length = float((lengths.sum() + attack.sum()) / total)
        found = passed(differing, honest_sessions(null, total, length, len(differing)))
        held["sessions"] += found.sessions.low <= attacks <= found.sessions.high
        held["events"] += found.events.low <= attack.sum() <= found.events.high
        widths.append(found.sessions.high - found.sessions.low)
    assert min(held.values()) >= 200 * LEVEL
    assert np.mean(widths) < 400


@pytest.mark.parametrize("together", [True, False])
def test_single_events_are_predicted_by_the_shares_of_whole_sessions(together: bool) -> None:  # noqa: FBT001 - pytest's way
    rng = np.random.default_rng([3, together])
    held = {"sessions": 0, "events": 0}
    highest = []
    for _ in range(200):
        lengths, parted = churned(rng, 250)
        null = Null(float((parted / lengths).sum()), 250, 1.0)
        lengths, parted = churned(rng, 300)
        carriers = rng.geometric(0.6, 300)
        honest = carriers * rng.binomial(1, parted / lengths) if together else rng.binomial(carriers, parted / lengths)
        length = float(carriers.mean())
        held["sessions"] += np.count_nonzero(honest) <= honest_sessions(null, 300, length).high
        events = honest_events(null, carriers)
        held["events"] += events.low <= honest.sum() <= events.high
        highest.append(events.high / carriers.sum())
    assert min(held.values()) >= 200 * LEVEL
    assert np.mean(highest) < 0.08


def test_longer_sessions_are_expected_to_part_more_often() -> None:
    null = Null(10, 1000, 2.0)
    as_long, longer = honest_sessions(null, 5000, 2.0), honest_sessions(null, 5000, 6.0)
    assert (as_long.estimate, longer.estimate) == pytest.approx((50.0, 150.0))
    assert longer.high > as_long.high
    shorter = honest_sessions(null, 5000, 1.0)
    assert (shorter.high, shorter.estimate) == (as_long.high, as_long.estimate)
    assert shorter.low < as_long.low


def test_a_version_that_parts_everywhere_even_on_the_reference_proves_nothing() -> None:
    honest = honest_sessions(Null(50, 50, 3.0), 200, 3.0)
    assert honest.high == 200
    assert passed(np.full(200, 3), honest).events.low == 0


def test_nothing_hunted_is_nothing_passed() -> None:
    found = passed(np.zeros(0, np.int64), honest_sessions(Null(3, 100, 1.0), 0, 1.0))
    assert found.sessions == found.events == Interval(0.0, 0.0, 0.0)


@given(
    st.lists(st.integers(1, 50), max_size=40),
    st.floats(0, 60),
    st.floats(0, 60),
    st.floats(0, 60),
)
def test_limits_enclose_the_estimate_and_never_exceed_what_was_counted(
    events: list[int], first: float, second: float, third: float
) -> None:
    low, estimate, high = sorted((first, second, third))
    found = passed(np.array(events, np.int64), Interval(low, estimate, high))
    assert 0 <= found.sessions.low <= found.sessions.high <= len(events)
    assert 0 <= found.events.low <= found.events.high <= sum(events)
    assert found.sessions.low <= found.sessions.estimate + 1e-9
    assert found.sessions.estimate <= found.sessions.high + 1e-9


@pytest.mark.parametrize("wrong", [(-1, 5, 1.0), (6, 5, 1.0), (0, 0, 1.0), (0, 5, 0.5)])
def test_a_null_that_cannot_be_is_refused(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="need 0 <= parted"):
        Null(*wrong)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=200),
    st.integers(1, 40),
)
def test_sessions_are_added_up_in_whichever_blocks_they_come(rows: list[tuple[int, int]], block: int) -> None:
    spread = np.uint64(0x9E3779B97F4A7C15)
    tally = SessionTally(1, capacity=1000)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        keys = np.array([k for k, _ in part], np.uint64) * spread
        tally.add(keys, np.array([[c] for _, c in part], np.int64))
    expected: dict[int, int] = {}
    for name, count in rows:
        expected[name] = expected.get(name, 0) + count
    assert sorted(tally.counts()[:, 0].tolist()) == sorted(expected.values())
    assert tally.share == 1.0


def test_of_too_many_sessions_a_fair_sample_of_whole_ones_is_kept() -> None:
    rng = np.random.default_rng(4)
    keys = rng.integers(0, 2**64, 20_000, dtype=np.uint64)
    tally = SessionTally(2, capacity=1000)
    for _ in range(3):
        for start in range(0, len(keys), 700):
            part = keys[start : start + 700]
            tally.add(part, np.column_stack([np.ones(len(part)), part % 10 == 0]).astype(np.int64))
    counts = tally.counts()
    assert len(counts) <= 1000
    assert counts[:, 0].tolist() == [3] * len(counts)
    assert len(counts) / tally.share == pytest.approx(20_000, rel=0.15)
    assert np.mean(counts[:, 1] > 0) == pytest.approx(0.1, abs=0.04)


def test_limits_from_a_sample_hold_for_all_sessions() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        every = rng.geometric(0.3, 4000)
        sample = every[rng.random(4000) < 0.25]
        found = scaled_up(passed(sample, Interval(0, 0, 0)), sample, 0.25, int(every.sum()))
        held += found.sessions.low <= 4000 <= found.sessions.high and found.events.low <= every.sum()
    assert held >= 200 * LEVEL
