"""Gradient boosting over histograms by scikit-learn (Ke et al. 2017).

It is trained in one go with a fixed number of trees, without early stopping: checkpoints are not used.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.ensemble import HistGradientBoostingClassifier

from detectors.batch import Floats
from rollback.train.boosted import Parameters, boosted_graph, constant_scores
from rollback.train.dense import Dense
from rollback.train.graph import onnx_spec
from rollback.train.recipe import Device, Progress, Trained, TrainingRows, answers_of
from rollback.train.trees import Tree
from rollback.train.weighing import heavy_rows

__all__ = ["Parameters", "train"]


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
