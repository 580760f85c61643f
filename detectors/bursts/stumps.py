"""A small boosted classifier in numpy: symmetric trees on binned columns, exact and seedless."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats, Ints

_BINS: Final = 24
_DEPTH: Final = 3
_SHRINK: Final = 5.0  # weight of the prior on a leaf, in rows


class Boosted:
    """Logistic boosting of oblivious trees: every level of a tree asks the same question (Prokhorenkova et al. 2018).

    >>> x = np.linspace(0, 1, 200)[:, None]
    >>> score = Boosted.fit(x, (x[:, 0] > 0.5).astype(float), np.ones(200), rounds=20, rate=0.3)(x)
    >>> bool(score[150] > 1 > -1 > score[50])
    True
    """

    def __init__(self, edges: list[Floats], trees: list[tuple[list[tuple[int, int]], Floats]], start: float) -> None:
        self._start = start
        questions = [question for splits, _ in trees for question in splits]
        self._column = np.array([column for column, _ in questions], np.int64)
        beyond = [edges[column][at] if at < len(edges[column]) else np.inf for column, at in questions]
        self._beyond = np.array(beyond, np.float64)[:, None]
        self._steps = np.array([step for _, step in trees]).ravel()

    @staticmethod
    def fit(x: Floats, y: Floats, weight: Floats, rounds: int, rate: float) -> Boosted:
        """Learn to tell rows x[n, m] with y = 1 from those with y = 0; ``weight`` counts rows."""
        edges = [np.unique(np.quantile(column, np.linspace(0, 1, _BINS + 1)[1:-1])) for column in x.T]
        binned = _binned(edges, x)
        mean = float(np.clip(np.average(y, weights=weight), 1e-3, 1 - 1e-3))
        start = float(np.log(mean / (1 - mean)))
        margin = np.full(len(y), start)
        trees = []
        for _ in range(rounds):
            p = 1 / (1 + np.exp(-margin))
            gradient, curve = weight * (y - p), weight * p * (1 - p)
            splits, leaf = _grow(binned, gradient, curve)
            size = 1 << len(splits)
            step = np.bincount(leaf, gradient, size) / (np.bincount(leaf, curve, size) + _SHRINK * 0.25)
            margin = margin + rate * step[leaf]
            trees.append((splits, rate * step))
        return Boosted(edges, trees, start)

    def __call__(self, x: Floats) -> Floats:
        """Log odds [n] of y = 1 for rows x[n, m]."""
        columns = np.nan_to_num(x.T, nan=np.inf)  # as `_binned` has it: beyond every edge
        answers = (columns[self._column] > self._beyond).reshape(-1, _DEPTH, len(x))
        leaf = np.arange(len(answers), dtype=np.int64)[:, None] << _DEPTH
        for level in range(_DEPTH):
            leaf = leaf + np.multiply(answers[:, level], 1 << (_DEPTH - 1 - level))
        return np.asarray(self._steps.take(leaf).sum(axis=0) + self._start, np.float64)


def _binned(edges: list[Floats], x: Floats) -> Ints:
    return np.column_stack([np.searchsorted(e, column, "left") for e, column in zip(edges, x.T, strict=True)])


def _grow(binned: Ints, gradient: Floats, curve: Floats) -> tuple[list[tuple[int, int]], Ints]:
    """The questions of one tree, greedily, and the leaf of each row."""
    leaf = np.zeros(len(binned), np.int64)
    splits: list[tuple[int, int]] = []
    columns = binned.shape[1]
    for level in range(_DEPTH):
        leaves = 1 << level
        best, choice = -np.inf, (0, 0)
        for column in range(columns):
            cell = leaf * (_BINS + 1) + binned[:, column]
            size = leaves * (_BINS + 1)
            g = np.bincount(cell, gradient, size).reshape(leaves, -1).cumsum(axis=1)
            h = np.bincount(cell, curve, size).reshape(leaves, -1).cumsum(axis=1)
            right_g, right_h = g[:, -1:] - g, h[:, -1:] - h
            prior = _SHRINK * 0.25
            gain = (g**2 / (h + prior) + right_g**2 / (right_h + prior)).sum(axis=0)[:-1]
            at = int(np.argmax(gain))
            if gain[at] > best:
                best, choice = float(gain[at]), (column, at)
        splits.append(choice)
        leaf = 2 * leaf + (binned[:, choice[0]] > choice[1])
    return splits, leaf
