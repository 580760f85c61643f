"""Splitting by whole sessions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback.train.metrics import area_under_roc, evaluate
from rollback.train.split import hold_out, reference_size


def sessions(n: int, seed: int, mean: int) -> tuple[np.ndarray, np.ndarray]:
    """Sessions of about ``mean`` rows in random order, each of one class."""
    rng = np.random.default_rng(seed)
    of = rng.integers(0, max(1, n // mean), n)
    return np.char.add("s", of.astype(np.str_)), of % 3


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(0, 2**32), st.integers(1, 20), st.floats(0, 0.5))
def test_a_session_is_held_out_whole_or_not_at_all(n: int, seed: int, mean: int, share: float) -> None:
    session, y = sessions(n, seed, mean)
    held = hold_out(session, y, int(share * n), np.random.default_rng(seed))
    assert not set(session[held]) & set(session[~held])
    assert held.sum() <= share * n
    assert set(y[~held].tolist()) == set(y.tolist()), "every class is left to learn from"


def test_about_as_many_rows_as_asked_for_are_held_out_of_every_class() -> None:
    session, y = sessions(9000, 0, 6)
    held = hold_out(session, y, 2250, np.random.default_rng(0))
    assert 2200 <= held.sum() <= 2250
    for label in range(3):
        assert held[y == label].mean() == pytest.approx(0.25, abs=0.01)


def test_another_seed_holds_out_other_sessions_and_the_same_one_the_same() -> None:
    session, y = sessions(900, 0, 6)
    first, again, other = (hold_out(session, y, 225, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("rows", "size"), [(400, 100), (48_000, 12_000), (1_000_000, 12_000)])
def test_the_reference_is_a_quarter_and_at_most_twelve_thousand_rows(rows: int, size: int) -> None:
    assert reference_size(rows) == size


def test_area_under_roc_is_the_probability_that_a_positive_scores_higher() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 20, 300).astype(np.float64), rng.random(300) < 0.3
    above = scores[positive][:, None] - scores[~positive][None, :]
    assert area_under_roc(scores, positive) == pytest.approx(np.mean((above > 0) + 0.5 * (above == 0)))


def test_metrics_leave_out_a_class_that_does_not_occur() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0]])
    figures = evaluate(scores, np.array([0, 1, 1]), ["a", "b", "c"])
    assert figures == {"accuracy": pytest.approx(2 / 3), "recall.a": 1.0, "recall.b": 0.5}
