"""Members that vote: which class each says, in numpy and the same as part of an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from onnx import TensorProto

from detectors.batch import Floats
from rollback.train.chosen import Chosen, chosen
from rollback.train.graph import Graph
from rollback.train.recipe import RecipeError

DIGITS: Final = 1e4
"""Members are compared on rounded probabilities, so that a tie is one in whatever order they were added up."""
NO_MEMBERS: Final = frozenset({"exec", "partition", "ensemble"})


def member(content: Mapping[str, Any], where: str) -> Chosen:
    """The recipe of a member. Raises `ValueError`, also for one that cannot be part of another graph."""
    try:
        found = chosen(content, where)
    except RecipeError as error:
        raise ValueError(str(error)) from error
    if found.name in NO_MEMBERS:
        raise ValueError(f"{where}: {found.name} cannot be a member")
    return found


def ballots(scores: Floats) -> Floats:
    """One vote [n,k] for the most probable class, the first of those that are alike.

    >>> ballots(np.array([[0.2, 0.8], [0.5, 0.5]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    votes = np.zeros_like(scores)
    votes[np.arange(len(scores)), np.round(scores * DIGITS).argmax(axis=1)] = 1.0
    return votes


def ballot_nodes(graph: Graph, scores: str, k: int) -> str:
    """The same in a graph."""
    rounded = graph.add("Round", [graph.add("Mul", [scores, graph.number(DIGITS)])])
    return first_highest(graph, rounded, k)


def first_highest(graph: Graph, values: str, k: int) -> str:
    """1 in the column of the first highest value of each row, else 0: [N,k]."""
    best = graph.add("ArgMax", [values], axis=1, keepdims=1)
    same = graph.add("Equal", [best, graph.constant(np.arange(k)[None, :])])
    return graph.add("Cast", [same], to=TensorProto.FLOAT)
