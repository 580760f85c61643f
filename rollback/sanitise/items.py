"""What slices are made of: exact values and quantile ranges of single features."""

from __future__ import annotations

import numpy as np

from detectors.batch import Bools, Floats, Ints
from detectors.nulls.itemsets import Item
from detectors.schema import Schema

BINS = 8
MOST_ITEMS = 512
"""Time goes with the square of the number of items."""
FEWEST_ITEMS = 4
COMMON = 0.01
"""An exact value is an item where it has this share of the base or of the new rows."""
UNUSUAL = 3.0
"""Or where its count in the new rows lies so many standard deviations above what the base lets expect."""


def find_items(schema: Schema, base: Floats, new: Floats, fewest: float) -> list[Item]:
    """Items of base x[m, d] and new x[n, d]: exact values, and eight quantile ranges of the base for numbers.

    Exact values (UNSEEN and missing among them) are those that are frequent, or that at least ``fewest`` new rows have
    and more than expected; a feature has at most its share of 512 items.
    """
    most = max(FEWEST_ITEMS, MOST_ITEMS // max(base.shape[1], 1))
    items: list[Item] = []
    for j, feature in enumerate(schema.features):
        ranges = _ranges(j, base[:, j]) if feature.kind == "numeric" else []
        exact = _exact(j, base[:, j], new[:, j], fewest)
        items += exact[: max(most - len(ranges), most // 2)] + ranges[: most // 2]
    return items


def _ranges(feature: int, column: Floats) -> list[Item]:
    """Closed ranges between the octiles of a column with more than eight values, open at both ends."""
    known = column[~np.isnan(column)]
    if len(np.unique(known)) <= BINS:
        return []
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)))
    edges[0], edges[-1] = -np.inf, np.inf
    return [Item(feature, low, high) for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]


def _exact(feature: int, base: Floats, new: Floats, fewest: float) -> list[Item]:
    """The column's values, the most unusual ones first, then the most frequent ones."""
    values, trusted, counted = _counts(base, new)
    expected = (trusted + 0.5) * len(new) / max(len(base), 1)
    excess = (counted - expected) / np.sqrt(expected)
    share = np.maximum(trusted / max(len(base), 1), counted / max(len(new), 1))
    unusual = (excess >= UNUSUAL) & (counted >= fewest)
    order = np.lexsort((values, -share, -np.where(unusual, excess, 0.0)))
    kept = order[(unusual | (share >= COMMON))[order]]
    return [Item(feature, value, value) for value in values[kept].tolist()]


def _counts(base: Floats, new: Floats) -> tuple[Floats, Floats, Floats]:
    """The values of a column (missing is one), and how often each occurs in the base and in the new rows."""
    values, of = np.unique(np.concatenate([base, new]), return_inverse=True)
    trusted = np.bincount(of[: len(base)], minlength=len(values)).astype(np.float64)
    counted = np.bincount(of[len(base) :], minlength=len(values)).astype(np.float64)
    return values, trusted, counted


def membership(items: list[Item], x: Floats) -> Bools:
    """Which of the rows x[n, d] have which items: bool[n, items]."""
    held = np.empty((len(x), len(items)), np.bool_)
    for i, item in enumerate(items):
        held[:, i] = item.holds(x)
    return held


def features_of(items: list[Item]) -> Ints:
    """The feature of each item."""
    return np.array([item.feature for item in items], np.int64)
