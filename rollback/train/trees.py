"""Decision trees in an ONNX graph, each threshold so rounded that float32 decides as the library does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Floats
from rollback.train.graph import Graph


@dataclass(frozen=True, slots=True)
class Tree:
    """Node i: where ``feature``[i] >= 0 a row goes to ``left``[i] if x[feature] <= ``threshold``[i], else ``right``[i].

    Elsewhere it is a leaf, which adds ``value``[i] [targets].
    """

    feature: NDArray[np.int64]
    threshold: Floats
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: Floats


def sum_of_trees(graph: Graph, matrix: str, trees: Sequence[Tree], targets: int) -> str:
    """The sum [N, targets] over all trees; the name of the tensor."""
    nodes: dict[str, list[Any]] = {name: [] for name in NODES}
    leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for number, tree in enumerate(trees):
        for i in range(len(tree.feature)):
            leaf = tree.feature[i] < 0
            described = (number, i, *(("LEAF", 0, 0.0, 0, 0) if leaf else _branch(tree, i)), 0)
            for name, item in zip(NODES, described, strict=True):
                nodes[name].append(item)
            for target in range(targets) if leaf else ():
                for name, item in zip(leaves, (number, i, target, float(tree.value[i, target])), strict=True):
                    leaves[name].append(item)
    attributes: dict[str, Any] = {f"nodes_{name}": values for name, values in nodes.items()}
    attributes |= {f"target_{name}": values for name, values in leaves.items()}
    return graph.add(
        "TreeEnsembleRegressor",
        [matrix],
        domain="ai.onnx.ml",
        n_targets=targets,
        aggregate_function="SUM",
        post_transform="NONE",
        **attributes,
    )


NODES = (
    "treeids",
    "nodeids",
    "modes",
    "featureids",
    "values",
    "truenodeids",
    "falsenodeids",
    "missing_value_tracks_true",
)


def _branch(tree: Tree, i: int) -> tuple[Any, ...]:
    threshold = below(float(tree.threshold[i]))
    return "BRANCH_LEQ", int(tree.feature[i]), threshold, int(tree.left[i]), int(tree.right[i])


def below(threshold: float) -> float:
    """The largest float32 that is not above: a float32 x is <= the one exactly where it is <= the other.

    >>> below(0.1) <= 0.1 < float(np.nextafter(np.float32(below(0.1)), np.float32(1)))
    True
    """
    near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))
