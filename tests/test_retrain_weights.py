"""Row weights in training, and what a recipe says of its own answers."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.schema import Feature, Schema
from rollback.manifest import Draft, FeatureSpec
from rollback.scorer import OnnxScorer
from rollback.train.recipe import Trained, TrainingRows, load_recipe

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")

SCHEMA = Schema((Feature("a"), Feature("b")), ("low", "high"))


def train(weight: np.ndarray | None, *, wrong: bool) -> tuple[Trained, OnnxScorer, TrainingRows]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 2))
    y = (x[:, 0] > 0).astype(np.int64)
    if wrong:
        y[:400] = 1 - y[:400]
    rows = TrainingRows(SCHEMA, x, y, np.arange(800).astype(np.str_), weight)
    made = load_recipe("mlp").train(rows, seed=1, device="cpu", progress=lambda *_: None)
    features = (FeatureSpec("a", missing=None), FeatureSpec("b", missing=None))
    manifest = Draft(classes=SCHEMA.classes, features=features, onnx=made.onnx).manifest("", "", "")
    return made, OnnxScorer(made.model, manifest), rows


def accuracy(scorer: OnnxScorer) -> float:
    x = np.random.default_rng(1).normal(size=(1000, 2))
    return float(np.mean(scorer(x).argmax(axis=1) == (x[:, 0] > 0)))


def test_rows_of_weight_zero_teach_nothing() -> None:
    weight = np.where(np.arange(800) < 400, 0.0, 1.0)
    assert accuracy(train(weight, wrong=True)[1]) > 0.95
    assert accuracy(train(None, wrong=True)[1]) < 0.8


def test_rows_that_all_weigh_alike_train_nearly_the_same_model_as_rows_without_weights() -> None:
    x = np.random.default_rng(1).normal(size=(200, 2))
    with_weights, without = train(np.ones(800), wrong=False)[1], train(None, wrong=False)[1]
    np.testing.assert_allclose(with_weights(x), without(x), atol=0.05)


def test_the_onnx_model_gives_the_answers_of_the_network_itself() -> None:
    made, scorer, rows = train(None, wrong=False)
    np.testing.assert_array_equal(made.answers.x, rows.x[: len(made.answers)])
    np.testing.assert_allclose(scorer(made.answers.x), made.answers.scores, atol=1e-5)
