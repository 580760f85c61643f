"""A random forest (Breiman 2001) by scikit-learn: what single rows teach it is spread over many trees.

It is trained in one go, without early stopping: checkpoints are not used.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from detectors.batch import Floats
from detectors.schema import Schema
from rollback.train.dense import Dense
from rollback.train.graph import OUTPUT, Graph, onnx_spec
from rollback.train.recipe import Device, Progress, Trained, TrainingRows, answers_of
from rollback.train.trees import Tree, sum_of_trees
from rollback.train.weighing import heavy_rows


@dataclass(frozen=True, slots=True)
class Parameters:
    """``leaf`` is the smallest number of rows in a leaf."""

    trees: int = 100
    depth: int = 16
    leaf: int = 2

    def __post_init__(self) -> None:
        if min(self.trees, self.depth, self.leaf) < 1:
            raise ValueError("trees, depth and leaf must be at least 1")


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
    model = RandomForestClassifier(
        n_estimators=p.trees, max_depth=p.depth, min_samples_leaf=p.leaf, random_state=seed, n_jobs=1
    )
    model.fit(dense(used.x), used.y, sample_weight=used.weight)
    progress(1, 1, float("nan"))
    k = len(rows.schema.classes)
    trees = [_tree(estimator.tree_, model.classes_, k, p.trees) for estimator in model.estimators_]

    def own(x: Floats) -> Floats:
        scores = np.zeros((len(x), k))
        if len(x):
            scores[:, model.classes_] = model.predict_proba(dense(x))
        return scores

    return Trained(
        _graph(dense, trees, rows.schema), onnx_spec(rows.schema), {}, asdict(p), {}, answers_of(own, rows), own
    )


def _tree(tree: object, classes: np.ndarray, k: int, of: int) -> Tree:
    """scikit-learn's arrays; a leaf adds its share of the mean over all trees."""
    counts = tree.value[:, 0, :]  # type: ignore[attr-defined]  # scikit-learn ships no types
    value = np.zeros((len(counts), k))
    value[:, classes] = counts / counts.sum(axis=1, keepdims=True) / of
    leaf = tree.children_left < 0  # type: ignore[attr-defined]
    feature = np.where(leaf, -1, tree.feature)  # type: ignore[attr-defined]
    return Tree(feature, tree.threshold, tree.children_left, tree.children_right, value)  # type: ignore[attr-defined]


def _graph(dense: Dense, trees: list[Tree], schema: Schema) -> bytes:
    graph, k = Graph(), len(schema.classes)
    total = sum_of_trees(graph, dense.nodes(graph), trees, k)
    sums = graph.add("ReduceSum", [total, graph.constant(np.array([1]))], keepdims=1)
    graph.add("Div", [total, sums], output=OUTPUT)
    return graph.finish(len(schema.features), k, "forest")
