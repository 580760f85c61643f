"""What every recipe does alike; each is found by its file, and must be here."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from functools import cache

import numpy as np
import pytest
from recipe_rows import SMALL, fit, make_rows, scorer, small, strange

from rollback.canary.canaries import TOLERANCE
from rollback.train.chosen import choose
from rollback.train.recipe import Trained, TrainingRows, load_recipe, recipe_names

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")

ASKS_A_COMMAND = {"exec"}
"""It has tests of its own."""
NAMES = sorted(set(recipe_names()) - ASKS_A_COMMAND)


@cache
def rows(classes: int = 2) -> TrainingRows:
    return make_rows(classes=classes)


@cache
def made(name: str, classes: int = 2) -> Trained:
    return fit(small(name), rows(classes))


def test_every_recipe_is_under_this_contract() -> None:
    assert set(SMALL) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_a_frozen_dataclass_with_defaults_and_are_noted(name: str) -> None:
    kind = load_recipe(name).Parameters
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert choose(name).parameters == kind()
    assert set(made(name).settings) == {f.name for f in fields(kind)}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_rows_and_seed_give_the_same_bytes(name: str) -> None:
    again = fit(small(name), rows())
    assert again.model == made(name).model
    assert again.figures == made(name).figures


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_onnx_runtime_answers_as_the_model_itself_does_also_for_what_it_has_never_seen(name: str, classes: int) -> None:
    trained, data = made(name, classes), rows(classes)
    score = scorer(trained, data)
    x = strange(data)
    assert np.abs(score(x) - trained.own(x)).max() < TOLERANCE
    assert np.abs(score(x).sum(axis=1) - 1).max() < 1e-5
    np.testing.assert_allclose(score(trained.answers.x), trained.answers.scores, atol=TOLERANCE)
    assert score(x[:0]).shape == (0, classes)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name: str, classes: int) -> None:
    fresh = make_rows(300, classes, seed=9)
    right = scorer(made(name, classes), rows(classes))(fresh.x).argmax(axis=1) == fresh.y
    assert right.mean() > 0.8


HARDENED = {
    "pgd": {"epsilon": 0.3, "steps": 2},
    "trades": {"epsilon": 0.3, "steps": 2},
    "smoothing": {"sigma": 0.3},
}


@pytest.mark.parametrize("option", sorted(HARDENED))
def test_a_hardened_network_is_repeatable_and_another_one(option: str) -> None:
    recipe = small("mlp", **{option: HARDENED[option]})
    hardened = fit(recipe, rows())
    assert hardened.model == fit(recipe, rows()).model != made("mlp").model
    assert np.abs(scorer(hardened, rows())(rows().x) - hardened.own(rows().x)).max() < TOLERANCE
    assert hardened.settings[option] == HARDENED[option] | hardened.settings[option]


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_weight_zero_teach_nothing(name: str) -> None:
    data = rows()
    wrong = np.random.default_rng(4).random(len(data)) < 0.45
    poisoned = replace(data, y=np.where(wrong, 1 - data.y, data.y))
    fresh = make_rows(300, seed=9)

    def accuracy(weight: np.ndarray | None) -> float:
        trained = fit(small(name), replace(poisoned, weight=weight))
        return float(np.mean(trained.own(fresh.x).argmax(axis=1) == fresh.y))

    assert accuracy(np.where(wrong, 0.0, 1.0)) > 0.8
    assert accuracy(None) < accuracy(np.where(wrong, 0.0, 1.0))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_rows_is_scored_and_never_said(name: str) -> None:
    data = rows(3)
    two = data.take(data.y < 2)
    trained = fit(small(name), two)
    scores = scorer(trained, two)(data.x)
    assert scores.shape == (len(data), 3)
    assert np.abs(scores - trained.own(data.x)).max() < TOLERANCE
    assert np.mean(scores.argmax(axis=1) == 2) < 0.05
