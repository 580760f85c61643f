"""Which rows become a version's canaries: those whose answers move when the model's numbers move a little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from detectors.batch import Bools, Floats, Ints, Scorer
from detectors.schema import Schema
from rollback.canary.canaries import TOLERANCE, Canaries
from rollback.reference import ReferenceRows

Copies: TypeAlias = Callable[[Floats], Floats]
"""x[n,d] -> scores[c,n,k] of c copies of a model, each with all its numbers moved a little."""

GROUPS: Final = 3
"""Rows of the reference, halves of two rows, and rows with every value from another row."""
DRAWN: Final = 512
SPREAD: Final = 64
"""So many canaries are chosen for directions in which copies move their answers."""
UNCERTAIN: Final = 64
"""So many of each group are chosen because the version is uncertain of them."""
NUDGE: Final = 2.0**-22
"""Two steps of float32, relative: what rounding an input does."""
STEADY: Final = 0.3
"""A row may move by this share of the tolerance when its values are nudged."""


def no_copies(x: Floats) -> Floats:
    """Of a model whose numbers cannot be moved."""
    return np.zeros((0, len(x), 1))


def choose(
    reference: ReferenceRows, schema: Schema, scorer: Scorer, copies: Copies = no_copies, seed: int = 0
) -> Canaries:
    """At most 256 of 1536 candidates: 512 rows of the reference (evenly over the classes), and as many of two mixtures.

    Mixed rows lie where no training data is, so that versions which were trained from different data go different
    ways. 64 rows are sensitive samples (Z. He, T. Zhang, R. Lee, "Sensitive-Sample Fingerprinting of Deep Neural
    Networks", CVPR 2019): samples whose answers have a large gradient with respect to the weights. Trees and models of
    other libraries offer no gradients, so the gradient is replaced by its random projections: how the answer changes
    in copies of which every number was multiplied by 1 + .01 N(0, 1). Where the paper covers active neurons, rows are
    taken one by one by what is left of their changes after those already taken explain theirs (Gram-Schmidt with
    pivoting), with long vectors cut to the median length, so that rare parts of the model count as much as common
    ones. 64 of each group are added of which the version is least certain, sum of p(1 - p): they reach leaves and
    thresholds that no projection shows. Left out are rows whose answers hinge on the last bits of their values: on them
    honest servers differ. The same arguments give the same rows. Raises `ValueError` for a reference without rows.
    """
    if not len(reference):
        raise ValueError("a reference without rows has no canaries")
    x, group = _candidates(reference, np.random.default_rng(seed))
    scores = scorer(x)
    steady = _steady(x, schema, scorer, scores)
    x, group, scores = x[steady], group[steady], scores[steady]
    spread = _spread(copies(x) - scores, SPREAD)
    left = np.setdiff1d(np.arange(len(x)), spread)
    uncertain = [_least_certain(scores, left[group[left] == each], UNCERTAIN) for each in range(GROUPS)]
    chosen = np.concatenate([spread, *uncertain])
    return Canaries(schema, x[chosen], scorer(x[chosen]))


def _candidates(reference: ReferenceRows, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """Different rows, and the group of each."""
    plain = reference.x[_over_classes(reference.y, DRAWN, rng)]
    mixed = [_mixed(reference.x, share, rng) for share in (0.5, 1.0)]
    x = np.concatenate([plain, *mixed])
    group = np.repeat(np.arange(GROUPS), [len(plain), DRAWN, DRAWN])
    _, first = np.unique(np.nan_to_num(x, nan=np.inf), axis=0, return_index=True)
    first.sort()
    return x[first], group[first]


def _over_classes(y: Ints, count: int, rng: np.random.Generator) -> Ints:
    """At most ``count`` rows in random order, each class in turn as long as it has rows."""
    order = rng.permutation(len(y))
    turn = np.zeros(len(y), dtype=np.int64)
    for name in np.unique(y):
        own = y[order] == name
        turn[own] = np.arange(np.count_nonzero(own))
    return np.asarray(order[np.argsort(turn, kind="stable")[:count]], dtype=np.int64)


def _mixed(x: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Random rows in which this share of the values, on average, are those of other random rows.

    With a share of one half all of them come from one other row, else each from a row of its own.
    """
    rows, width = DRAWN, x.shape[1]
    base = x[rng.integers(len(x), size=rows)]
    if share == 1.0:
        return np.asarray(x[rng.integers(len(x), size=(rows, width)), np.arange(width)], dtype=np.float64)
    other = x[rng.integers(len(x), size=rows)]
    return np.asarray(np.where(rng.random((rows, width)) < share, other, base), dtype=np.float64)


def _steady(x: Floats, schema: Schema, scorer: Scorer, scores: Floats) -> Bools:
    """Rows whose answers stay when values that are not whole are nudged up and down; all where that leaves none."""
    numeric = np.array([feature.kind != "categorical" for feature in schema.features])
    movable = numeric & (x != np.round(x))
    moved = [scorer(np.where(movable, x * (1.0 + way * NUDGE), x)) - scores for way in (-1.0, 1.0)]
    steady = np.abs(np.stack(moved)).max(axis=(0, 2)) <= STEADY * TOLERANCE
    return steady if steady.any() else np.ones(len(x), dtype=np.bool_)


def _spread(moved: Floats, count: int) -> Ints:
    """At most ``count`` rows that are moved in different ways, from changes[c,n,k]; none where there are no copies."""
    if not len(moved):
        return np.zeros(0, dtype=np.int64)
    left = moved.transpose(1, 0, 2).reshape(moved.shape[1], -1)
    length = np.linalg.norm(left, axis=1)
    smallest = max(float(np.median(length)), TOLERANCE)
    left = left / np.maximum(length, smallest)[:, None]
    chosen: list[int] = []
    for _ in range(min(count, len(left))):
        rest = np.sum(left**2, axis=1)
        rest[chosen] = -1.0
        best = int(rest.argmax())
        if rest[best] <= TOLERANCE**2:
            break
        chosen.append(best)
        direction = left[best] / np.sqrt(rest[best])
        left = left - np.outer(left @ direction, direction)
    return np.array(chosen, dtype=np.int64)


def _least_certain(scores: Floats, among: Ints, count: int) -> Ints:
    """Those rows ``among`` all whose scores are farthest from 0 and 1."""
    spread = np.sum(scores[among] * (1.0 - scores[among]), axis=1)
    return among[np.argsort(-spread, kind="stable")[:count]]
