"""What every suspicion score promises. They are found in the package: a new one is tested here without being named."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_material import (
    ATTACK,
    BASE,
    BENIGN,
    COUNT,
    NEW,
    PACKETS,
    SCHEMA,
    SERVICE,
    UNKNOWN,
    backdoor,
    case,
    clean,
    far_out,
    rows,
    stamped,
    wrong_labels,
)

from detectors.batch import Bools, Floats
from detectors.schema import UNSEEN
from rollback.sanitise.case import Case
from rollback.sanitise.conformal import Suspicion, calibrate
from rollback.sanitise.encoding import bins, components, encode
from rollback.sanitise.material import Material
from rollback.sanitise.rows import Rows
from rollback.sanitise.scores.score import Score, make_scores, score_names

NAMES = score_names()
SEEDS = range(6)
LEVELS = (0.02, 0.05, 0.1)
PLANTED: dict[str, Callable[[Rows, np.random.Generator], tuple[Rows, Bools]]] = {
    "clusters": wrong_labels,
    "correlation_breaks": stamped,
    "early_gradient": backdoor,
    "early_loss": backdoor,
    "embedding_knn": stamped,
    "foreign_values": backdoor,
    "influence": wrong_labels,
    "knn_label": wrong_labels,
    "leave_sources_out": wrong_labels,
    "lkg_loss": wrong_labels,
    "loss_difference": backdoor,
    "out_of_bag": wrong_labels,
    "out_of_bag_cells": wrong_labels,
    "replaced_cells": stamped,
    "robust_mahalanobis": far_out,
    "robust_statistics": far_out,
    "spectral_mad": far_out,
}
"""What each score is for. One that is not named here has to find wrong labels."""


def p_of(name: str, about: Case) -> tuple[Floats, Floats]:
    (score,) = make_scores([name])
    return calibrate(score.rate(Material.of(about)), about.base.y, about.new.y)


@cache
def clean_p(name: str, seed: int) -> Floats:
    return p_of(name, clean(seed))[1]


@cache
def planted(plant: Callable[[Rows, np.random.Generator], tuple[Rows, Bools]]) -> tuple[Case, Bools]:
    new, touched = plant(rows(NEW, 1005), np.random.default_rng(0))
    return case(rows(BASE, 5), new, 5), touched


def test_the_scores_that_were_asked_for_are_found() -> None:
    assert set(PLANTED) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_holds_one_score_of_its_name_which_says_what_it_finds_and_where_it_is_from(name: str) -> None:
    module = importlib.import_module(f"rollback.sanitise.scores.{name}")
    found = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Score) and c is not Score]
    (score,) = make_scores([name])
    assert found == [type(score)]
    assert score.name == name
    assert 10 < len(score.says) < 100
    assert name == "foreign_values" or "Source: " in str(found[0].__doc__)


def test_a_score_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no score 'magic'; there are clusters, "):
        make_scores(["magic"])


@pytest.mark.parametrize("name", NAMES)
def test_of_clean_rows_it_calls_as_many_suspicious_as_its_level_says(name: str) -> None:
    shares = np.array([[np.mean(clean_p(name, seed) <= level) for level in LEVELS] for seed in SEEDS])
    for level, share in zip(LEVELS, shares.T, strict=True):
        # a session of two rows is one draw of the new rows, and of the base that they are ranked in
        error = np.sqrt(level * (1 - level) * (2 / NEW + 2 / BASE) / len(SEEDS))
        assert share.mean() <= level + 3 * error, level


@pytest.mark.parametrize("name", [n for n in NAMES if n not in {"foreign_values", "replaced_cells", "loss_difference"}])
def test_its_p_values_are_not_far_too_large_either(name: str) -> None:
    assert np.mean([np.mean(clean_p(name, seed) <= 0.1) for seed in SEEDS]) >= 0.05


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_what_it_is_for(name: str) -> None:
    about, touched = planted(PLANTED.get(name, wrong_labels))
    _, p = p_of(name, about)
    assert np.mean(p[touched] <= 0.1) >= 0.5
    assert np.mean(p[touched] <= 0.1) >= 4 * np.mean(p[~touched] <= 0.1)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_material_gives_the_same_scores(name: str) -> None:
    (score,) = make_scores([name])
    first, second = (score.rate(Material.of(clean(1))) for _ in range(2))
    np.testing.assert_array_equal(first.base, second.base)
    np.testing.assert_array_equal(first.new, second.new)


@pytest.mark.parametrize("name", ["replaced_cells", "foreign_values"])
def test_the_cell_that_it_names_is_a_stamped_one(name: str) -> None:
    about, touched = planted(backdoor)
    (score,) = make_scores([name])
    cell = score.rate(Material.of(about)).cell
    assert cell is not None
    assert np.mean(np.isin(cell[touched], [2, COUNT, SERVICE])) > 0.8


def _with(x: Floats, column: int | slice, value: float) -> Floats:
    changed = x.copy()
    changed[:, column] = value
    return changed


ODD: dict[str, Callable[[Rows, Rows], tuple[Rows, Rows]]] = {
    "empty": lambda base, new: (base, new.take(slice(0, 0))),
    "one row": lambda base, new: (base, new.take(slice(0, 1))),
    "one class": lambda base, new: (base, new.take(new.y == ATTACK)),
    "a label that the base does not know": lambda base, new: (
        base,
        replace(new, y=np.where(np.arange(len(new)) < 30, UNKNOWN, new.y)),
    ),
    "missing": lambda base, new: (
        replace(base, x=_with(base.x, PACKETS, np.nan)),
        replace(new, x=_with(new.x, PACKETS, np.nan)),
    ),
    "huge": lambda base, new: (base, replace(new, x=_with(new.x, PACKETS, 1e30))),
    "constant": lambda base, new: (
        replace(base, x=_with(base.x, slice(0, 6), 1.0)),
        replace(new, x=_with(new.x, slice(0, 6), 1.0)),
    ),
    "unseen": lambda base, new: (base, replace(new, x=_with(new.x, SERVICE, UNSEEN))),
    "one source": lambda base, new: (
        replace(base, source=np.full(len(base), "one")),
        replace(new, source=np.full(len(new), "one")),
    ),
    "a source with 95%": lambda base, new: (
        base,
        replace(new, source=np.where(np.arange(len(new)) < 0.95 * len(new), "one", "other")),
    ),
    "a small base": lambda base, new: (base.take(slice(0, 60)), new),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ODD)
def test_odd_rows_are_rated_without_a_warning(name: str, kind: str) -> None:
    about = case(*ODD[kind](rows(400, 21), rows(300, 22)), 21)
    base_p, new_p = p_of(name, about)
    assert len(new_p) == len(about.new)
    for p in (base_p, new_p):
        assert np.all((p > 0) & (p <= 1))
    assert np.all(new_p[about.new.y == UNKNOWN] == 1)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(1, 3), st.integers(0, 2**31))
def test_a_rank_is_a_p_value_whatever_the_score_measures_in(m: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    base, new, y = rng.normal(size=m), rng.normal(size=(k, 7)), rng.integers(0, 2, 7)
    labels = rng.integers(0, 2, m)
    plain = calibrate(Suspicion(base, new), labels, y)
    warped = calibrate(Suspicion(np.exp(base), np.exp(new)), labels, y)
    for one, other in zip(plain, warped, strict=True):
        np.testing.assert_array_equal(one, other)
    more = calibrate(Suspicion(base, new + 1), labels, y)[1]
    assert np.all(more <= plain[1])


def test_p_values_of_one_exchangeable_score_are_exactly_uniform() -> None:
    rng = np.random.default_rng(3)
    zeros = np.zeros(99, np.int64), np.zeros(1, np.int64)
    p = [calibrate(Suspicion(s[:99], s[None, 99:]), *zeros)[1][0] for s in rng.normal(size=(4000, 100))]
    assert {round(100 * v) for v in p} <= set(range(1, 101))
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 4000))


def test_points_have_no_missing_value_and_no_constant_column() -> None:
    x = rows(200, 3).x.copy()
    x[:, COUNT] = 7.0
    points = encode(SCHEMA, x)
    assert np.isfinite(points).all()
    assert (np.ptp(points, axis=0) > 0).all()
    assert encode(SCHEMA, x[:0]).shape[0] == 0
    assert encode(SCHEMA, np.full((3, 6), np.nan)).tolist() == [[0.0], [0.0], [0.0]]


def test_components_keep_distances_when_there_are_as_many_as_columns() -> None:
    points = np.random.default_rng(1).normal(size=(20, 4))
    found = components(points, 16)
    assert found.shape == (20, 4)
    assert np.linalg.norm(found[3] - found[8]) == pytest.approx(np.linalg.norm(points[3] - points[8]))
    np.testing.assert_allclose(components(points, 2), found[:, :2])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.5, np.nan]) | st.floats(-10, 10), min_size=1, max_size=60))
def test_bins_keep_the_order_of_rare_values_and_give_frequent_ones_their_own(values: list[float]) -> None:
    column = np.array(values)
    code, count = bins(column, 5)
    assert code.min() >= 0
    assert code.max() < count <= 2 * 5 + 2
    assert np.array_equal(code == 0, np.isnan(column))
    for value in np.unique(column[~np.isnan(column)]):
        same = column == value
        assert len(set(code[same].tolist())) == 1
        if same.mean() > 0.2:
            assert not np.isin(code[~same], code[same][0]).any()


def test_base_rows_are_rated_by_models_that_have_not_seen_them() -> None:
    about = clean(2)
    material = Material.of(about)
    for k, out, known in material.folds():
        assert not set(about.base.session[out]) & set(about.base.session[known])
        given_label = about.base_scorers[k](about.base.x[out])[np.arange(len(out)), about.base.y[out]]
        np.testing.assert_allclose(material.loss.base[out], -np.log(given_label))
    assert material.benign == BENIGN
