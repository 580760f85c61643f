"""Gradient boosting by LightGBM, for models that a SOC has trained with it; it must be installed.

It is trained in one go with a fixed number of trees, without early stopping: checkpoints are not used.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from scipy.special import expit, softmax

from detectors.batch import Floats, Scorer
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
    k, (classes, y) = len(rows.schema.classes), np.unique(used.y, return_inverse=True)
    trees: list[Tree] = []
    targets = 1 if len(classes) <= 2 else len(classes)  # noqa: PLR2004 - two classes have one raw score
    own = constant_scores(int(classes[0]), k)
    if len(classes) > 1:
        data = lightgbm.Dataset(dense(used.x), label=y, weight=used.weight, free_raw_data=True)
        model = lightgbm.train(_options(p, seed, len(classes)), data, num_boost_round=p.trees)
        described = model.dump_model()["tree_info"]
        trees = [_tree(each["tree_structure"], i % targets, targets) for i, each in enumerate(described)]
        own = _own(model, dense, classes, k)
    progress(1, 1, float("nan"))
    content = boosted_graph(dense, trees, np.zeros(targets), classes, rows.schema, "lightgbm")
    return Trained(content, onnx_spec(rows.schema), {}, asdict(p), {}, answers_of(own, rows), own)


def _options(p: Parameters, seed: int, classes: int) -> dict[str, Any]:
    """One thread and a fixed order of columns: the same rows give the same trees."""
    several = {"objective": "multiclass", "num_class": classes}
    return {
        **({"objective": "binary"} if classes == 2 else several),  # noqa: PLR2004 - as above
        "learning_rate": p.learning_rate,
        "num_leaves": p.leaves,
        "min_data_in_leaf": p.leaf,
        "lambda_l2": p.shrink,
        "seed": seed % 2**31,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }


def _own(model: Any, dense: Dense, classes: np.ndarray, k: int) -> Scorer:
    def own(x: Floats) -> Floats:
        scores = np.zeros((len(x), k))
        if len(x):
            raw = model.predict(dense(x), raw_score=True, num_threads=1)
            known = softmax(raw, axis=1) if raw.ndim > 1 else np.column_stack([expit(-raw), expit(raw)])
            scores[:, classes] = known
        return scores

    return own


def _tree(root: dict[str, Any], target: int, targets: int) -> Tree:
    """LightGBM's nested nodes as arrays. Nothing is missing in the matrix, and no column is categorical to it."""
    nodes: list[dict[str, Any]] = []
    children: list[tuple[int, int]] = []

    def add(node: dict[str, Any]) -> int:
        number = len(nodes)
        nodes.append(node)
        children.append((0, 0))
        if "split_feature" in node:
            children[number] = (add(node["left_child"]), add(node["right_child"]))
        return number

    add(root)
    value = np.zeros((len(nodes), targets))
    value[:, target] = [node.get("leaf_value", 0.0) for node in nodes]
    left, right = np.array(children).T
    feature = np.array([node.get("split_feature", -1) for node in nodes])
    return Tree(feature, np.array([float(node.get("threshold", 0.0)) for node in nodes]), left, right, value)
