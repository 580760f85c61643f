"""Which of the values that a slice's rows share were put in, and which their kind of row has anyway."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Bools, Floats, Ints
from detectors.schema import Schema
from rollback.sanitise.pattern import Pattern
from rollback.sanitise.rows import Rows

Distances: TypeAlias = NDArray[np.float32]

NEIGHBOURS: Final = 5
DOUBTFUL: Final = 0.25
MOST_CARRIERS: Final = 60
MOST_BASE: Final = 2000
"""Neighbours are looked for among so many random rows of the base: all pairs of rows are compared."""
USUAL: Final = 0.5
"""A value that this share of the neighbours has is one that the row would have had anyway."""


def changed(pattern: Pattern, carriers: Floats, known: Rows, rng: np.random.Generator) -> Pattern:
    """The part of a pattern that does not fit the rest of the rows x [n, d] that carry it; the same where all fits.

    Rows of one source or family honestly share many values. Each carrier's nearest rows of the base, of any
    label, are found by its other features, where those in the pattern count for a quarter; the value that most of
    these neighbours have is dropped from the pattern, one after another and the most usual one first, and its feature
    counts in full from then on. What stays is what less than half of the neighbours have: the cells that somebody
    changed. A distance is the number of categories that differ, and differences of ranks.
    """
    carriers = carriers[np.sort(rng.permutation(len(carriers))[:MOST_CARRIERS])]
    schema, base = known.schema, known.x[np.sort(rng.permutation(len(known))[:MOST_BASE])]
    left = list(range(len(pattern.items)))
    features = [item.feature for item in pattern.items]
    apart = np.zeros((len(carriers), len(base)), np.float32)
    doubtful = {j: np.float32(DOUBTFUL) * _distance(carriers[:, j], base[:, j], schema, j) for j in features}
    for j in range(base.shape[1]):
        apart += doubtful[j] if j in doubtful else _distance(carriers[:, j], base[:, j], schema, j)
    held = [item.holds(base) for item in pattern.items]
    while left:
        usual = [float(np.mean(held[i][_nearest(apart - doubtful[features[i]])])) for i in left]
        if max(usual) < USUAL:
            break
        i = left.pop(int(np.argmax(usual)))
        apart += doubtful[features[i]] * np.float32(1 / DOUBTFUL - 1)
    return Pattern(tuple(pattern.items[i] for i in left), tuple(pattern.values[i] for i in left)) if left else pattern


def _nearest(apart: Distances) -> Ints:
    k = min(NEIGHBOURS, apart.shape[1])
    return np.asarray(np.argpartition(apart, k - 1, axis=1)[:, :k], np.int64)


def _distance(ours: Floats, theirs: Floats, schema: Schema, j: int) -> Distances:
    """How far cells [n] and [m] of one column are apart: [n, m], from 0 to 1; missing is a value of its own."""
    if schema.features[j].kind != "numeric":
        return np.asarray(_code(ours)[:, None] != _code(theirs)[None, :], np.float32)
    order = np.sort(theirs[~np.isnan(theirs)])
    if not len(order):
        return np.asarray(np.isnan(ours)[:, None] != np.isnan(theirs)[None, :], np.float32)
    a, b = (_rank(order, column) for column in (ours, theirs))
    gone = np.isnan(ours)[:, None] | np.isnan(theirs)[None, :]
    both: Bools = np.isnan(ours)[:, None] & np.isnan(theirs)[None, :]
    return np.where(both, 0, np.where(gone, 1, np.abs(a[:, None] - b[None, :]))).astype(np.float32)


def _rank(order: Floats, column: Floats) -> Floats:
    """The middle of the ranks that a value has among known ones, as a share."""
    return np.asarray(
        (np.searchsorted(order, column, "left") + np.searchsorted(order, column, "right")) / (2 * len(order)),
        np.float32,
    )


def _code(column: Floats) -> Floats:
    return np.nan_to_num(column, nan=-2.0)
