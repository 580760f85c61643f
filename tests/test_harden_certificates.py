"""Certificates: a radius within which nothing changes, and a number of poisons that change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_rows import fit, make_rows, small
from scipy.stats import norm

from detectors.batch import Floats
from detectors.schema import Feature, Schema
from rollback.train.certificates import poisons
from rollback.train.harden.partition import certified_poisons, content_digests, parts_of
from rollback.train.harden.smoothing import certify, in_own_units, lower_bound, scale_of
from rollback.train.recipe import RecipeError, TrainingRows

SCHEMA = Schema((Feature("a"), Feature("b"), Feature("c", "categorical", ("x", "y"))), ("low", "high"))
SCALE = scale_of(SCHEMA, np.array([0.0, 1.0]), np.array([0.5, 2.0]))


def step(x: Floats) -> Floats:
    """Class high where asinh(a) is above 0."""
    high = (x[:, 0] > 0).astype(np.float64)
    return np.column_stack([1 - high, high])


def rows_at(z: list[float]) -> Floats:
    """Rows whose first number lies so many standard deviations above the border."""
    return np.column_stack([np.sinh(np.array(z) * 0.5), np.full(len(z), 3.0), np.zeros(len(z))])


def test_the_radius_of_a_linear_border_is_the_distance_to_it_and_never_more() -> None:
    z = [-0.6, -0.2, 0.1, 0.3, 0.5]
    found = certify(step, rows_at(z), SCALE, sigma=0.25, samples=4000, alpha=0.001, rng=np.random.default_rng(0))
    assert found.prediction.tolist() == [0, 0, 1, 1, 1]
    assert (found.radius <= np.abs(z)).all()
    assert found.radius == pytest.approx(np.abs(z), abs=0.06)


def test_it_abstains_on_the_border_and_the_radius_there_is_zero() -> None:
    found = certify(step, rows_at([0.0]), SCALE, sigma=0.25, samples=500, alpha=0.001, rng=np.random.default_rng(1))
    assert found.abstains.tolist() == [True]
    assert (found.prediction[0], found.radius[0]) == (-1, 0.0)


def test_a_model_that_says_no_class_is_certified_for_none() -> None:
    found = certify(
        lambda x: np.full((len(x), 2), 0.5),
        rows_at([1.0]),
        SCALE,
        sigma=0.25,
        samples=100,
        alpha=0.01,
        rng=np.random.default_rng(0),
    )
    assert found.abstains.all()


@settings(deadline=None)
@given(st.integers(1, 400), st.data())
def test_the_radius_grows_with_the_hits_and_shrinks_with_certainty(samples: int, data: st.DataObject) -> None:
    fewer = data.draw(st.integers(0, samples))
    more = data.draw(st.integers(fewer, samples))
    low, high = lower_bound(np.array([fewer, more]), samples, 0.01)
    assert low <= high <= 1
    assert lower_bound(np.array([more]), samples, 0.001)[0] <= high
    assert low <= fewer / samples


def test_the_lower_bound_is_above_the_truth_no_more_often_than_alpha() -> None:
    hits = np.random.default_rng(0).binomial(200, 0.7, 20_000)
    assert np.mean(lower_bound(hits, 200, 0.05) > 0.7) <= 0.055


def test_alone_a_number_may_go_as_far_as_the_radius_in_its_own_unit() -> None:
    x = rows_at([0.2])
    low, high = in_own_units(x, np.array([0.4]), SCALE)
    assert (np.arcsinh(high) - np.arcsinh(x[:, :2]))[0] == pytest.approx([0.4 * 0.5, 0.4 * 2.0])
    assert (np.arcsinh(x[:, :2]) - np.arcsinh(low))[0] == pytest.approx([0.4 * 0.5, 0.4 * 2.0])


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=5), st.data())
def test_no_change_of_so_many_votes_changes_the_outcome_and_one_more_can(votes: list[int], data: st.DataObject) -> None:
    counts = np.array([votes])
    winner, safe = int(counts.argmax()), int(certified_poisons(counts)[0])
    moved = counts[0].copy()
    for _ in range(min(safe, int(moved.sum()))):
        given_up = data.draw(st.sampled_from(np.flatnonzero(moved).tolist()))
        moved[given_up] -= 1
        moved[data.draw(st.integers(0, len(moved) - 1))] += 1
    assert int(moved.argmax()) == winner

    worst = counts[0].copy()
    if worst[winner] > safe:
        reached = False
        for rival in range(len(worst)):
            if rival != winner:
                tried = worst.copy()
                tried[winner] -= safe + 1
                tried[rival] += safe + 1
                reached |= int(tried.argmax()) != winner
        assert reached, "the certificate is tight"


def voted(rows: TrainingRows, x: Floats) -> np.ndarray:
    made = fit(small("partition", parts=7, base={"recipe": "linear_svm", "cost": 1.0}), rows)
    return np.round(made.own(x) * 7).astype(np.int64)


def poisoned(rows: TrainingRows, k: int, rng: np.random.Generator) -> TrainingRows:
    """``k`` changes: rows are taken out, put in (copies of one, or new) or labelled otherwise."""
    for _ in range(k):
        kind, i = rng.integers(0, 4), int(rng.integers(0, len(rows)))
        if kind == 0:
            rows = rows.take(np.arange(len(rows)) != i)
        elif kind == 1:
            y = rows.y.copy()
            y[i] = 1 - y[i]
            rows = replace(rows, y=y)
        else:
            extra = rows.take(np.array([i]))
            if kind == 2:
                extra = replace(extra, x=extra.x + 1.0, y=1 - extra.y)
            rows = TrainingRows.concat([extra, rows])
    return rows


@settings(deadline=None, max_examples=4)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_so_many_poisons_as_are_certified_change_no_prediction(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    rows, fresh = make_rows(200, seed=seed), make_rows(100, seed=seed + 1)
    before, after = voted(rows, fresh.x), voted(poisoned(rows, k, rng), fresh.x)
    safe = certified_poisons(before) >= k
    assert safe.any()
    assert (before.argmax(axis=1) == after.argmax(axis=1))[safe].all()
    assert (np.abs(before - after).sum(axis=1) <= 2 * k).all(), "a poison has one vote"


def test_a_part_depends_on_content_alone_and_not_on_order_or_label() -> None:
    rows = make_rows(120)
    order = np.random.default_rng(0).permutation(len(rows))
    digests = content_digests(rows.x)
    assert np.array_equal(parts_of(digests, 9)[order], parts_of(content_digests(rows.x[order]), 9))
    assert np.array_equal(voted(rows, rows.x), voted(rows.take(order), rows.x))
    twice = np.vstack([rows.x, rows.x])
    assert len(np.unique(content_digests(twice))) == len(np.unique(digests))
    assert content_digests(np.array([[0.0]])) == content_digests(np.array([[-0.0]]))


def test_radius_in_units_of_sigma_is_the_quantile_of_the_bound() -> None:
    found = certify(step, rows_at([9.0]), SCALE, sigma=0.5, samples=1000, alpha=0.001, rng=np.random.default_rng(0))
    assert found.radius[0] == pytest.approx(0.5 * norm.ppf(0.001 ** (1 / 1000)))


@pytest.mark.parametrize("scores", [[0.6, 0.3], [0.55, 0.45], [1.2, -0.2], [float("nan"), 1.0]])
def test_scores_that_are_no_shares_of_votes_certify_nothing(scores: list[float]) -> None:
    with pytest.raises(RecipeError, match="no shares of 5 votes"):
        poisons(np.array([[0.8, 0.2], scores]), 5, Schema((Feature("a"),), ("a", "b")))
    found = poisons(np.array([[0.8, 0.2]], dtype=np.float32).astype(np.float64), 5, Schema((Feature("a"),), ("a", "b")))
    assert found["certified_poisons"].tolist() == [1.0]
