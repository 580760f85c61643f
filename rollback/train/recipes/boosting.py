"""Gradient boosting over histograms by scikit-learn (Ke et al. 2017).

It is trained in one go with a fixed number of trees, without early stopping: checkpoints are not used.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.ensemble import HistGradientBoostingClassifier

from detectors.batch import Floats
from rollback.train.boosted import boosted_graph, constant_scores
from rollback.train.dense import Dense
from rollback.train.graph import onnx_spec
from rollback.train.recipe import Device, Progress, Trained, TrainingRows, answers_of
from rollback.train.trees import Tree
from rollback.train.weighing import heavy_rows


@dataclass(frozen=True, slots=True)
class Parameters:
    """``leaf`` is the smallest number of rows in a leaf, ``shrink`` the L2 penalty of leaf values."""

    trees: int = 100
    learning_rate: float = 0.1
    leaves: int = 31
    leaf: int = 20
    shrink: float = 1.0

    def __post_init__(self) -> None:
        if min(self.trees, self.leaf) < 1 or self.leaves < 2 or self.learning_rate <= 0 or self.shrink < 0:  # noqa: PLR2004 - a tree has two
            raise ValueError("trees and leaf must be at least 1, leaves at least 2, learning_rate above 0")


def train(
    rows: TrainingRows,
    *,
    seed: int,
    device: Device,  # noqa: ARG001 - it needs none
    progress: Progress,
    parameters: Parameters | None = None,
    checkpoints: Path | None = None,  # noqa: ARG001 - trained in one go
) -> Trained:
    """Train on the rows; see `rollback.train.recipe.Recipe`."""
    p = parameters or Parameters()
    dense, used = Dense(rows.schema), heavy_rows(rows)
    k, classes = len(rows.schema.classes), np.unique(used.y)
    trees: list[Tree] = []
    base = np.zeros(1)
    own = constant_scores(int(classes[0]), k)
    if len(classes) > 1:
        model = HistGradientBoostingClassifier(
            max_iter=p.trees,
            learning_rate=p.learning_rate,
            max_leaf_nodes=p.leaves,
            min_samples_leaf=p.leaf,
            l2_regularization=p.shrink,
            early_stopping=False,
            random_state=seed,
        )
        model.fit(dense(used.x), used.y, sample_weight=used.weight)
        rounds = model._predictors  # noqa: SLF001 - the trees are nowhere public
        base = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001 - likewise
        trees = [_tree(each, i, len(base)) for members in rounds for i, each in enumerate(members)]
        own = _own(model, dense, k)
    progress(1, 1, float("nan"))
    content = boosted_graph(dense, trees, base, classes, rows.schema, "boosting")
    return Trained(content, onnx_spec(rows.schema), {}, asdict(p), {}, answers_of(own, rows), own)


def _own(model: Any, dense: Dense, k: int) -> Any:
    def own(x: Floats) -> Floats:
        scores = np.zeros((len(x), k))
        if len(x):
            raw = model.decision_function(dense(x))
            known = softmax(raw, axis=1) if raw.ndim > 1 else np.column_stack([1 - expit(raw), expit(raw)])
            scores[:, model.classes_] = known
        return scores

    return own


def _tree(predictor: Any, target: int, targets: int) -> Tree:
    nodes = predictor.nodes
    value = np.zeros((len(nodes), targets))
    value[:, target] = nodes["value"]
    feature = np.where(nodes["is_leaf"], -1, nodes["feature_idx"].astype(np.int64))
    return Tree(feature, nodes["num_threshold"], nodes["left"], nodes["right"], value)
