"""How good a classifier is on rows that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.batch import Bools, Floats, Ints

BINARY = 2


def accuracy(scores: Floats, y: Ints) -> float:
    """The share of rows whose most probable class is the true one; ``scores`` is [n, k]."""
    return float(np.mean(scores.argmax(axis=1) == y))


def area_under_roc(scores: Floats, positive: Bools) -> float:
    """P(score of a positive > score of a negative), ties counting one half (Mann-Whitney U over n+ n-).

    >>> area_under_roc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    n_positive = int(np.count_nonzero(positive))
    n_negative = len(positive) - n_positive
    _, tie, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[tie]  # equal scores share their mean rank
    rank_sum = float(ranks[positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def evaluate(scores: Floats, y: Ints, classes: Sequence[str]) -> dict[str, float]:
    """``accuracy``, ``recall.CLASS`` of every class that occurs and, with two classes, ``auc``."""
    figures = {"accuracy": accuracy(scores, y)}
    for i, name in enumerate(classes):
        if (own := y == i).any():
            figures[f"recall.{name}"] = accuracy(scores[own], y[own])
    if len(classes) == BINARY and 0 < np.count_nonzero(y) < len(y):
        figures["auc"] = area_under_roc(scores[:, 1], y == 1)
    return figures
