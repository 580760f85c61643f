"""Bets hold their stated false-alarm rates under the null and grow under the alternative."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detectors.sequential import (
    STAKES,
    RateMonitor,
    cautious_bounds,
    log_mean,
    p_to_e,
    session_maximum,
    session_mean,
    sessions_of,
    upper_bound,
)


@given(n=st.integers(1, 500), share=st.floats(0, 1), level=st.floats(0.5, 0.999))
def test_upper_bound_is_where_so_few_successes_become_unlikely(n: int, share: float, level: float) -> None:
    k = min(int(share * n), n - 1)
    bound = upper_bound(k, n, level)
    assert stats.binom.cdf(k, n, bound) == pytest.approx(1 - level, rel=1e-6)


def test_upper_bound_without_trials_excludes_nothing() -> None:
    assert upper_bound(0, 0) == 1.0


def test_upper_bound_refuses_more_successes_than_trials() -> None:
    with pytest.raises(ValueError, match="successes"):
        upper_bound(3, 2)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=40), st.integers(0, 40))
def test_bets_do_not_depend_on_how_votes_are_cut_into_windows(votes: list[int], cut: int) -> None:
    x = np.array(votes, float)
    whole, parts = RateMonitor([0.05, 0.2]), RateMonitor([0.05, 0.2])
    once = whole.update(np.repeat(x[:, None], 2, 1))
    parts.update(np.repeat(x[:cut, None], 2, 1))
    assert parts.update(np.repeat(x[cut:, None], 2, 1)) == pytest.approx(once, abs=1e-9)


def test_a_missing_vote_changes_nothing() -> None:
    bet, same = RateMonitor([0.1]), RateMonitor([0.1])
    assert bet.update([1.0, np.nan, 0.0]) == pytest.approx(same.update([1.0, 0.0]))


def test_restored_bets_continue_exactly() -> None:
    bet = RateMonitor([0.01, 0.1])
    bet.update(np.array([[1.0, 0.0], [0.0, 1.0]]))
    other = RateMonitor([0.01, 0.1])
    other.restore(bet.state())
    np.testing.assert_array_equal(bet.update(np.ones((3, 2))), other.update(np.ones((3, 2))))


def test_votes_outside_the_unit_interval_are_refused() -> None:
    with pytest.raises(ValueError, match="votes"):
        RateMonitor([0.1]).update([2.0])


def test_under_the_null_the_average_run_length_is_at_least_the_threshold() -> None:
    rng = np.random.default_rng(2)
    rate, streams, threshold = 0.02, 200, 300.0
    monitor = RateMonitor(np.full(streams, rate))
    run = np.full(streams, np.inf)
    for vote in range(1, 2001):
        crossed = monitor.update((rng.random((1, streams)) < rate).astype(float)) >= np.log(threshold)
        run = np.where(crossed, np.minimum(run, vote), run)
    assert np.mean(np.minimum(run, 2000)) >= threshold  # cut at 2,000 votes, so the true average is larger still


@pytest.mark.parametrize("rate", [0.002, 0.02, 0.3])
def test_votes_of_any_size_with_that_mean_keep_the_average_run_length(rate: float) -> None:
    rng = np.random.default_rng(4)
    streams, threshold = 200, 300.0
    monitor = RateMonitor(np.full(streams, rate))
    run = np.full(streams, np.inf)
    for vote in range(1, 1501):
        some = (rng.random((1, streams)) < 2 * rate) * rng.random((1, streams))
        run = np.where(monitor.update(some) >= np.log(threshold), np.minimum(run, vote), run)
    assert np.mean(np.minimum(run, 1500)) >= threshold


def test_a_mean_of_dependent_monitors_keeps_the_average_run_length() -> None:
    rng = np.random.default_rng(5)
    rate, streams, scopes, threshold = 0.05, 60, 3, 200.0
    monitor = RateMonitor(np.full(streams * scopes, rate))
    run = np.full(streams, np.inf)
    for vote in range(1, 1001):
        one = (rng.random((1, streams)) < rate).astype(float)  # all scopes vote alike
        log_r = monitor.update(np.repeat(one, scopes, axis=1)).reshape(streams, scopes)
        total = np.array([log_mean(logs) for logs in log_r])
        run = np.where(total >= np.log(threshold), np.minimum(run, vote), run)
    assert np.mean(np.minimum(run, 1000)) >= threshold


def test_a_reference_that_was_drawn_badly_raises_no_alarm_behind_cautious_bounds() -> None:
    rng = np.random.default_rng(6)
    rate, trials, streams, budget = 0.01, 1000, 400, 1e5
    hits = rng.binomial(trials, rate, streams)
    single, cautious = RateMonitor(upper_bound(hits, trials)), RateMonitor(cautious_bounds(hits, trials))
    fired = np.zeros((2, streams), bool)
    for _ in range(100):
        votes = (rng.random((300, streams)) < rate).astype(float)
        fired |= np.stack([m.update(votes) >= np.log(budget) for m in (single, cautious)])
    assert fired[0].sum() > 3  # what a bound at 95% alone would do
    assert fired[1].sum() <= 1


def test_cautious_bounds_cost_nothing_where_the_rate_is_far_above() -> None:
    rng = np.random.default_rng(7)
    single, cautious = RateMonitor(upper_bound([10], 1000)), RateMonitor(cautious_bounds([10], 1000))
    votes = (rng.random(100) < 0.3).astype(float)
    assert cautious.update(votes)[0] > 0.95 * single.update(votes)[0]


def test_two_rows_of_the_same_bound_are_that_bound() -> None:
    votes = (np.random.default_rng(8).random((200, 2)) < 0.1).astype(float)
    once, twice = RateMonitor([0.05, 0.1]), RateMonitor([[0.05, 0.1], [0.05, 0.1]])
    assert twice.update(votes) == pytest.approx(once.update(votes))


def test_rates_that_are_no_rates_are_refused() -> None:
    for wrong in ([0.0], [1.5], np.full((3, 1), 0.5)):
        with pytest.raises(ValueError, match="null_rate"):
            RateMonitor(wrong)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.01, 0.9))
def test_the_monitor_follows_the_recursion_of_each_stake(votes: list[float], rate: float) -> None:
    statistic = np.zeros(len(STAKES))
    for vote in votes:
        statistic = (1 + np.array(STAKES) * (vote / rate - 1)) * (1 + statistic)
    assert np.exp(RateMonitor([rate]).update(votes)[0]) == pytest.approx(statistic.mean(), rel=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.01, 0.9))
def test_the_sum_of_all_bets_is_never_below_the_best_of_them(votes: list[float], rate: float) -> None:
    best = np.zeros(len(STAKES))
    monitor = RateMonitor([rate])
    for vote in votes:  # the CUSUM e-detector of each stake
        best = (1 + np.array(STAKES) * (vote / rate - 1)) * np.maximum(best, 1)
        assert monitor.update([vote])[0] >= np.log(best.mean()) - 1e-9


def test_the_monitor_finds_a_late_change_as_fast_as_an_early_one() -> None:
    rng = np.random.default_rng(3)
    quiet = (rng.random(20_000) < 0.01).astype(float)
    changed = (rng.random(400) < 0.06).astype(float)
    late, early = RateMonitor([0.015]), RateMonitor([0.015])
    assert late.update(quiet)[0] < np.log(7e4)
    found = [next(i for i, x in enumerate(changed) if m.update([x])[0] > np.log(7e4)) for m in (late, early)]
    assert found[0] <= found[1]


def test_a_scaled_null_forgives_votes_that_are_likelier_by_nature() -> None:
    strict, lenient = RateMonitor([0.01]), RateMonitor([0.01])
    votes = np.ones(3)
    assert lenient.update(votes, np.full((3, 1), 5.0)) < strict.update(votes)


def test_calibrated_uniform_p_values_are_e_values() -> None:
    p = (np.arange(1, 200_001) - 0.5) / 200_000
    assert np.mean(p_to_e(p)) <= 1.0
    assert np.all(np.diff(p_to_e(np.linspace(1e-6, 1, 1000))) <= 1e-4)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=10))
def test_log_mean_is_the_log_of_the_mean(logs: list[float]) -> None:
    assert log_mean(logs) == pytest.approx(np.log(np.mean(np.exp(logs))))


def test_sessions_vote_with_their_maximum_or_their_share() -> None:
    code, count = sessions_of(np.array(["s", "t", "s", "t"]))
    values = np.array([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert session_maximum(values, code, count).tolist() == [[1.0, 1.0], [0.0, 1.0]]
    assert session_mean(values, code, count).tolist() == [[0.5, 1.0], [0.0, 0.5]]
