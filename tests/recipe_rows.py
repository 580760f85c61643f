"""Rows with everything that recipes must cope with, few enough for a quick training."""

from __future__ import annotations

import numpy as np

from detectors.batch import Floats
from detectors.schema import UNSEEN, Feature, Schema
from rollback.manifest import Draft, FeatureSpec
from rollback.scorer import OnnxScorer
from rollback.train.chosen import Chosen, chosen
from rollback.train.recipe import Trained, TrainingRows

FEATURES = (
    Feature("bytes"),
    Feature("packets"),
    Feature("constant"),
    Feature("flag", "binary"),
    Feature("proto", "categorical", ("tcp", "udp", "icmp")),
)
SPECS = tuple(FeatureSpec(f.name, f.kind, f.vocabulary, missing=None) for f in FEATURES)
SMALL: dict[str, dict[str, object]] = {
    "mlp": {"hidden": [8], "epochs": 4, "batch": 32, "learning_rate": 0.02},
    "boosting": {"trees": 8, "leaf": 5},
    "lightgbm": {"trees": 8, "leaf": 5},
    "forest": {"trees": 10},
    "linear_svm": {"cost": 1.0},
    "partition": {"parts": 5, "base": {"recipe": "boosting", "trees": 6, "leaf": 5}},
    "ensemble": {
        "members": [
            {"recipe": "mlp", "hidden": [8], "epochs": 4, "batch": 32, "learning_rate": 0.02},
            {"recipe": "forest", "trees": 10},
            {"recipe": "linear_svm", "cost": 1.0},
        ]
    },
}
"""Parameters with which each recipe is quick."""


def make_rows(n: int = 300, classes: int = 2, seed: int = 0) -> TrainingRows:
    """Rows whose class shows in bytes, flag and protocol; some cells are missing or unseen."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    packets = rng.integers(1, 50, n).astype(np.float64)
    amount = np.round(np.exp(rng.normal(3 + 2.0 * y, 0.7)))
    proto = np.where(rng.random(n) < 0.8, y % 3, rng.integers(0, 3, n)).astype(np.float64)
    x = np.column_stack([amount, packets, np.full(n, 7.0), (rng.random(n) < 0.2 + 0.6 * (y == 1)), proto])
    x[rng.random(x.shape) < 0.03] = np.nan
    x[rng.random(n) < 0.03, 4] = UNSEEN
    schema = Schema(FEATURES, tuple(f"class{c}" for c in range(classes)))
    return TrainingRows(schema, x, y.astype(np.int64), np.char.add("s", (np.arange(n) // 2).astype(np.str_)))


def strange(rows: TrainingRows, seed: int = 1) -> Floats:
    """Values that no row has had."""
    rng = np.random.default_rng(seed)
    x = rows.x.copy()
    x[rng.random(x.shape) < 0.15] = np.nan
    x[rng.random(len(x)) < 0.2, 4] = UNSEEN
    x[rng.random(len(x)) < 0.05, 4] = 99.0
    extreme = rng.random((len(x), 4)) < 0.05
    x[:, :4][extreme] = rng.choice([1e-12, -1e9, 1e12, 1e30, 0.0], size=int(extreme.sum()))
    return x


def small(name: str, **more: object) -> Chosen:
    return chosen({"recipe": name, **SMALL[name], **more}, "test")


def fit(recipe: Chosen, rows: TrainingRows, seed: int = 3) -> Trained:
    return recipe.train(rows, seed=seed, device="cpu", progress=lambda *_: None)


def scorer(made: Trained, rows: TrainingRows) -> OnnxScorer:
    draft = Draft(classes=rows.schema.classes, features=made.features or SPECS, onnx=made.onnx)
    return OnnxScorer(made.model, draft.manifest("", "", ""))
