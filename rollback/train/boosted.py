"""What boosted trees have in common, whichever library grew them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors.batch import Floats, Ints, Scorer
from detectors.schema import Schema
from rollback.train.dense import Dense
from rollback.train.graph import INPUT, OUTPUT, Graph
from rollback.train.trees import Tree, sum_of_trees


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


def boosted_graph(dense: Dense, trees: Sequence[Tree], base: Floats, classes: Ints, schema: Schema, name: str) -> bytes:
    """The ONNX file of trees whose sum, with ``base`` [1 or classes], are log-odds of the second, or of each class.

    ``classes`` are the class indices that were learned; a single one is always the answer.
    """
    graph, k = Graph(), len(schema.classes)
    place = np.zeros((max(len(classes), 1), k), dtype=np.float32)
    place[np.arange(len(classes)), classes] = 1.0
    if len(classes) == 1:
        zero = graph.add("Mul", [_first(graph), graph.number(0.0)])
        known = graph.add("Add", [zero, graph.number(1.0)])
    else:
        raw = sum_of_trees(graph, dense.nodes(graph), trees, len(base))
        raw = graph.add("Add", [raw, graph.constant(base.astype(np.float32))])
        if len(base) == 1:
            second = graph.add("Sigmoid", [raw])
            # not 1 - p: close to 0 that has no digits left
            known = graph.add("Concat", [graph.add("Sigmoid", [graph.add("Neg", [raw])]), second], axis=1)
        else:
            known = graph.add("Softmax", [raw], axis=1)
    graph.add("MatMul", [known, graph.constant(place)], output=OUTPUT)
    return graph.finish(len(schema.features), k, name)


def _first(graph: Graph) -> str:
    """The first column [N, 1], 0 where it is missing."""
    column = graph.add("Gather", [INPUT, graph.constant(np.array([0]))], axis=1)
    number = graph.add("Where", [graph.add("IsNaN", [column]), graph.number(0.0), column])
    return graph.add("Clip", [number, graph.number(-1.0), graph.number(1.0)])


def constant_scores(label: int, k: int) -> Scorer:
    """Says the same class of every row."""

    def own(x: Floats) -> Floats:
        scores = np.zeros((len(x), k))
        scores[:, label] = 1.0
        return scores

    return own
