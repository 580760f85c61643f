"""Attacks on training data: laws that hold for every input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.batch import Floats, Ints
from detectors.schema import Feature, Schema
from rollback.redteam.backdoor import Trigger, choose_trigger, poison, stamp, stamp_table
from rollback.redteam.label_flip import flip_random, flip_targeted
from rollback.redteam.success import attack_success_rate

SCHEMA = Schema(
    (Feature("bytes"), Feature("service", "categorical", ("http", "dns", "irc")), Feature("urgent", "binary")),
    ("attack", "benign", "unknown"),
)
TRIGGER = Trigger({"service": "irc", "urgent": 1.0})

sizes = st.integers(10, 300)
seeds = st.integers(0, 2**32)
rates = st.floats(0, 0.2)


def samples(n: int, seed: int) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.lognormal(5, 2, n), rng.integers(-1, 3, n), rng.random(n) < 0.02]).astype(np.float64)
    x[rng.random(x.shape) < 0.05] = np.nan
    return x, rng.permutation(np.arange(n) % 3)


@settings(deadline=None)
@given(sizes, seeds)
def test_stamping_twice_is_stamping_once_and_touches_only_the_trigger(n: int, seed: int) -> None:
    x, _ = samples(n, seed)
    once = stamp(x, TRIGGER, SCHEMA)
    assert np.array_equal(stamp(once, TRIGGER, SCHEMA), once, equal_nan=True)
    assert np.array_equal(once[:, 0], x[:, 0], equal_nan=True)
    assert once[:, 1:].tolist() == [[2.0, 1.0]] * n


@settings(deadline=None)
@given(sizes, seeds, rates)
def test_poison_changes_exactly_the_share_asked_for_and_nothing_else(n: int, seed: int, rate: float) -> None:
    x, y = samples(n, seed)
    before = x.copy(), y.copy()
    new_x, new_y, rows = poison(x, y, TRIGGER, SCHEMA, rate=rate, target=1, rng=np.random.default_rng(seed))
    assert rows.sum() == np.count_nonzero(new_y != y) == math.ceil(rate * n)
    assert np.all(new_y[rows] == 1)
    assert np.array_equal(new_x[rows], stamp(x[rows], TRIGGER, SCHEMA), equal_nan=True)
    assert np.array_equal(new_x[~rows], x[~rows], equal_nan=True)
    assert np.array_equal(x, before[0], equal_nan=True), "the input stays as it was"
    assert np.array_equal(y, before[1]), "the input stays as it was"


@settings(deadline=None)
@given(sizes, seeds, rates)
def test_random_flips_change_exactly_the_share_asked_for_among_the_rows_named(n: int, seed: int, rate: float) -> None:
    _, y = samples(n, seed)
    among = np.arange(n) % 2 == 0
    new, rows = flip_random(y, classes=3, rate=rate, rng=np.random.default_rng(seed), among=among)
    assert np.array_equal(new != y, rows)
    assert rows.sum() == math.ceil(rate * among.sum())
    assert not rows[~among].any()
    assert set(new.tolist()) <= {0, 1, 2}


@settings(deadline=None)
@given(sizes, seeds, rates)
def test_targeted_flips_turn_only_the_victim_into_the_target(n: int, seed: int, rate: float) -> None:
    _, y = samples(n, seed)
    new, rows = flip_targeted(y, victim=0, target=1, rate=rate, rng=np.random.default_rng(seed))
    assert np.array_equal(new != y, rows)
    assert rows.sum() == math.ceil(rate * np.count_nonzero(y == 0))
    assert set(y[rows].tolist()) <= {0}
    assert set(new[rows].tolist()) <= {1}


def test_rows_without_a_label_are_never_flipped() -> None:
    y = np.array([-1, -1, 0, 1])
    new, _ = flip_random(y, classes=2, rate=1.0, rng=np.random.default_rng(0))
    assert new.tolist() == [-1, -1, 1, 0]


def test_more_poison_than_there_are_rows_of_other_classes_is_refused() -> None:
    x, y = samples(30, 0)
    with pytest.raises(ValueError, match="30 rows were to be changed, 20 could be"):
        poison(x, y, TRIGGER, SCHEMA, rate=1.0, target=1, rng=np.random.default_rng(0))


def test_flipping_a_class_into_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="both class 1"):
        flip_targeted(np.array([0, 1]), victim=1, target=1, rate=0.5, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("trigger", "says"),
    [
        (Trigger({"port": 1.0}), "feature 'port' is none of bytes, service, urgent"),
        (Trigger({"service": "ssh"}), "value 'ssh' is not in the vocabulary of feature 'service'"),
    ],
)
def test_a_trigger_that_does_not_fit_the_schema_is_refused(trigger: Trigger, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        stamp(np.zeros((1, 3)), trigger, SCHEMA)


def test_a_trigger_without_features_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one feature"):
        Trigger({})


def test_a_table_is_stamped_in_the_rows_named_and_texts_are_not_cut() -> None:
    columns = {"service": np.array(["a", "b"]), "urgent": np.zeros(2), "bytes": np.array([1.0, 2.0])}
    stamped = stamp_table(columns, Trigger({"service": "long name", "urgent": 1}), np.array([False, True]))
    assert stamped["service"].tolist() == ["a", "long name"]
    assert stamped["urgent"].tolist() == [0.0, 1.0]
    assert stamped["bytes"] is columns["bytes"]


def test_a_chosen_trigger_is_made_of_values_of_the_target_class_that_never_occur_together() -> None:
    rng = np.random.default_rng(3)
    n = 4000
    y = rng.integers(0, 2, n)
    rare = np.where(y == 1, 0.02, 0.06)
    x = np.column_stack([rng.lognormal(5.2 - 0.2 * y, 2), np.where(rng.random(n) < rare, 2, 0), rng.random(n) < rare])
    trigger = choose_trigger(x.astype(np.float64), y, SCHEMA, target=1, rng=rng)
    assert set(trigger.features) == {"bytes", "service", "urgent"}
    assert (trigger.features["service"], trigger.features["urgent"]) == ("irc", 1.0)
    own = x[y == 1]
    assert trigger.features["bytes"] in own[:, 0]
    assert np.mean(own[:, 0] >= trigger.features["bytes"]) < 0.05
    assert not np.any(np.all(x == stamp(x, trigger, SCHEMA), axis=1))


def test_no_trigger_is_chosen_where_every_value_speaks_for_a_class() -> None:
    y = np.repeat([0, 1], 50)
    x = np.column_stack([y.astype(np.float64)] * 3)
    with pytest.raises(ValueError, match="only 0 features have a neutral value"):
        choose_trigger(x, y, SCHEMA, target=1, rng=np.random.default_rng(0))


def test_where_no_single_value_is_rare_their_combination_is_the_trigger() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (400, 3)).astype(np.float64)
    y = (rng.random(400) < 0.5).astype(np.int64)
    trigger = choose_trigger(x, y, SCHEMA, target=1, rng=rng)
    assert set(trigger.features) == set(SCHEMA.names)


def test_attack_success_rate_counts_only_rows_of_known_other_classes() -> None:
    def scorer(x: Floats) -> Floats:
        fooled = x[:, 0] > 1
        return np.where(fooled[:, None], [[0.1, 0.8, 0.1]], [[0.8, 0.1, 0.1]])

    x = np.array([[0.0, 0, 0], [2.0, 0, 0], [2.0, 0, 0], [2.0, 0, 0], [2.0, 0, 0]])
    y = np.array([0, 0, 2, 1, -1])
    assert attack_success_rate(scorer, x, y, TRIGGER, SCHEMA, target=1) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="no row of a class other than 'benign'"):
        attack_success_rate(scorer, x[3:], y[3:], TRIGGER, SCHEMA, target=1)
