"""Conformal ranks: what they state of clean rows, in sessions and alone, and what they do not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.batch import Floats, Ints
from detectors.schema import Feature, Schema
from rollback.sanitise.conformal import Suspicion, calibrate, session_weights
from rollback.sanitise.rows import Rows
from rollback.sanitise.session_rank import SessionRank, calibrate_sessions, own_share

SCHEMA = Schema((Feature("bytes"),), ("attack", "benign"))
seeds = st.integers(0, 2**31)


def rows(y: Ints, session: Ints | None = None) -> Rows:
    """Nothing but labels and sessions; without the latter every row is one."""
    n = len(y)
    named = np.full(n, "") if session is None else session.astype(np.str_)
    return Rows(SCHEMA, np.zeros((n, 1)), y, np.full(n, "s"), named)


def alike(sessions: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """Scores and sessions of rows: 12 a session in the mean, which hardly differ from each other."""
    of = np.repeat(np.arange(sessions), rng.geometric(1 / 12, sessions))
    return rng.normal(size=sessions)[of] + 0.1 * rng.normal(size=len(of)), of


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(1, 3), seeds)
def test_a_rank_among_sessions_is_a_p_value_whatever_the_score_measures_in(m: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    base, new = rng.normal(size=m), rng.normal(size=(k, 7))
    about = rows(rng.integers(0, 2, m), rng.integers(0, 20, m)), rows(rng.integers(0, 2, 7), rng.integers(0, 4, 7))
    plain = calibrate_sessions(Suspicion(base, new), *about)
    warped = calibrate_sessions(Suspicion(np.exp(base), np.exp(new)), *about)
    for one, other in zip(plain, warped, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.all((one > 0) & (one <= 1))
    more = calibrate_sessions(Suspicion(base, new + 1), *about)[1]
    assert np.all(more <= plain[1])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), seeds)
def test_rows_without_sessions_are_ranked_one_by_one(m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    base, new = rng.integers(0, 9, m), rng.integers(0, 9, 7)
    score, about = Suspicion(base + 0.0, new[None] + 0.0), (rows(np.zeros(m, int)), rows(np.zeros(7, int)))
    plain = calibrate(score, about[0].y, about[1].y)
    for one, other in zip(calibrate_sessions(score, *about), plain, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), seeds)
def test_copies_of_all_rows_within_their_sessions_change_no_rank(m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    score, session = rng.integers(0, 9, m) + 0.0, rng.integers(0, 8, m)
    y = np.zeros(m, int)
    once = calibrate_sessions(Suspicion(score, score[None]), rows(y, session), rows(y, session))
    twice = [np.tile(part, 2) for part in (score, y, session)]
    again = calibrate_sessions(Suspicion(twice[0], twice[0][None]), rows(*twice[1:]), rows(*twice[1:]))
    for one, other in zip(once, again, strict=True):
        np.testing.assert_allclose(other[:m], one)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), seeds)
def test_shares_and_votes_are_those_that_counting_gives(m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    value, session = rng.integers(0, 6, m) + 0.0, rng.integers(0, 6, m)
    share = [np.mean(value[session == of] >= one) for one, of in zip(value, session, strict=True)]
    np.testing.assert_allclose(own_share(value, session), share)
    votes = [sum(np.mean(value[session == of] >= one) for of in np.unique(session)) for one in value]
    np.testing.assert_allclose(SessionRank.of(value, session).at_least(value), votes)


def test_the_votes_of_base_rows_with_p_at_most_a_are_a_share_of_a() -> None:
    score, session = alike(200, np.random.default_rng(5))
    base = rows(np.zeros(len(score), int), session)
    base_p, _ = calibrate_sessions(Suspicion(score, np.zeros((0, 0))), base, base.take(slice(0, 0)))
    for level in (0.0125, 0.05, 0.5):
        assert np.average(base_p <= level, weights=session_weights(base)) == pytest.approx(level, abs=1 / 200)


def test_of_long_sessions_of_like_rows_no_more_are_suspicious_than_the_level_says() -> None:
    rng, sessions, coming, level = np.random.default_rng(7), 100, 40, 0.0125
    shares = []
    for _ in range(300):
        score, of = alike(sessions + coming, rng)
        known = of < sessions
        base, new = (rows(np.zeros(int(part.sum()), int), of[part]) for part in (known, ~known))
        _, p = calibrate_sessions(Suspicion(score[known], score[None, ~known]), base, new)
        shares.append(np.average(p <= level, weights=session_weights(new)))
    error = np.sqrt(level * (1 / sessions + 1 / coming) / len(shares))
    assert level - 4 * error <= np.mean(shares) <= level + 3 * error
