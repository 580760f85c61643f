"""Nulls for whole windows hold their stated error rates, for any distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.nulls.block_null import (
    WindowRuns,
    dispersion,
    first_of_sessions,
    ks_distance,
    ks_margin,
    ks_p,
    mid_rank,
    mid_rank_bounds,
)
from detectors.sequential import RateMonitor, p_to_e


def test_runs_of_windows_keep_the_average_run_length_in_votes() -> None:
    rng = np.random.default_rng(1)
    streams, votes, threshold, windows = 500, 50, 5000.0, 500
    runs = WindowRuns(streams)
    run = np.full(streams, np.inf)
    for index in range(1, windows + 1):
        crossed = runs.update(np.log(p_to_e(rng.random(streams))), votes) >= np.log(threshold)
        run = np.where(crossed, np.minimum(run, votes * index), run)
    assert np.mean(np.minimum(run, votes * windows)) >= threshold


def test_windows_without_votes_change_nothing() -> None:
    runs = WindowRuns(2)
    before = runs.update(np.log([2.0, 3.0]), 10).copy()
    np.testing.assert_array_equal(runs.update(np.log([9.0, 9.0]), 0), before)


def test_restored_runs_continue_exactly() -> None:
    runs, other = WindowRuns(2), WindowRuns(2)
    runs.update(np.log([2.0, 0.5]), [10, 20])
    other.restore(runs.state())
    np.testing.assert_array_equal(runs.update(np.log([1.5, 1.5]), 7), other.update(np.log([1.5, 1.5]), 7))


@pytest.mark.parametrize("coarse", [False, True])
def test_distances_behind_their_margin_give_super_uniform_p_values(coarse: bool) -> None:  # noqa: FBT001 - a parametrised test
    rng = np.random.default_rng(2)
    p = []
    for _ in range(40):
        reference, windows = rng.normal(size=400), rng.normal(size=(40, 60))
        if coarse:
            reference, windows = np.round(reference), np.round(windows)
        ordered, margin = np.sort(reference), ks_margin(400, 0.05)
        p += [float(ks_p(ks_distance(ordered, w), margin, 60)) for w in windows]
    for level in (0.2, 0.05, 0.005):
        assert np.mean(np.array(p) <= level) <= level


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_ranks_in_the_truth_itself_have_mean_one_half(values: list[int]) -> None:
    x = np.array(values, float)
    assert mid_rank(np.sort(x), x).mean() == pytest.approx(0.5)


@pytest.mark.parametrize("coarse", [False, True])
def test_a_reference_that_was_drawn_badly_raises_no_alarm_by_ranks(coarse: bool) -> None:  # noqa: FBT001 - as above
    rng = np.random.default_rng(3)
    streams, sessions, budget, fired = 40, 300, 1e5, 0
    for _ in range(streams):
        truth = rng.normal(size=sessions + 10_000)
        values = np.round(truth) if coarse else truth
        own = mid_rank(np.sort(values[:sessions]), values[sessions:])
        monitor = RateMonitor(mid_rank_bounds([sessions, sessions], 0.0125))
        votes = np.column_stack([own, 1 - own]).reshape(50, -1, 2)
        fired += any(monitor.update(v).max() >= np.log(2 * budget) for v in votes)
    assert fired <= streams * 10_000 / budget / 2


def test_bounds_of_ranks_hold_for_the_stated_share_of_references() -> None:
    rng = np.random.default_rng(4)
    bound, cautious = mid_rank_bounds([200], 0.05)[:, 0]
    means = np.array([1 - rng.random(200).mean() for _ in range(4000)])  # of uniform truths, given the reference
    assert np.mean(means > bound) <= 0.06
    assert np.mean(means > cautious) <= 0.002


def test_dispersion_is_one_for_independent_sessions_and_more_for_hours_that_differ() -> None:
    rng = np.random.default_rng(5)
    calm = rng.normal(size=2000)
    hours = calm + np.repeat(rng.normal(size=20), 100)

    def of(values: np.ndarray) -> float:
        squares = lambda rows: np.array([(values[rows].mean() - values.mean()) ** 2])  # noqa: E731 - a seam takes it
        return float(dispersion(squares, len(values), np.random.default_rng(6))[0])

    assert of(calm) < 1.5
    assert of(hours) == 4.0


@given(st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=20))
def test_each_session_is_looked_at_once(sessions: list[str]) -> None:
    rows = first_of_sessions(np.array(sessions, "<U1"))
    named = [s for s in dict.fromkeys(sessions) if s]
    assert len(rows) == len(named) + sessions.count("")
    assert sorted(rows.tolist()) == rows.tolist()
