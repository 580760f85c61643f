"""Rows as points: coded columns to comparable numbers, and those to a few principal components."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats, Ints
from detectors.schema import Schema

MOST_CATEGORIES: Final = 64
"""Rarer categories of a feature share one column."""
FARTHEST: Final = 8.0
"""Standardised numbers are cut off here, so that one cell does not decide every distance."""
MISSING: Final = -20.0
"""A missing value where it has to be a number: below asinh of any count."""


def encode(schema: Schema, x: Floats) -> Floats:
    """Points [n, D] of rows x[n, d]: numbers as standardised asinh, all else one-hot; NaN is the mean and a column.

    Columns that do not vary are left out; at least one (of zeros) remains.
    """
    parts = [
        _number(x[:, j]) if feature.kind == "numeric" else _one_hot(x[:, j])
        for j, feature in enumerate(schema.features)
    ]
    points = np.concatenate([*parts, np.zeros((len(x), 1))], axis=1)
    varies = np.ptp(points, axis=0) > 0 if len(x) else np.zeros(points.shape[1], np.bool_)
    return np.asarray(points[:, varies] if varies.any() else points[:, -1:], np.float64)


def plain(x: Floats) -> Floats:
    """Numbers [n, d] without NaN that keep the order of every column: for trees."""
    value = np.arcsinh(np.clip(x, -1e300, 1e300))
    return np.where(np.isnan(value), MISSING, value)


def components(points: Floats, most: int) -> Floats:
    """Coordinates [n, c] of points [n, D] on their first principal components, c = min(``most``, D)."""
    centred = points - points.mean(axis=0) if len(points) else points
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :most]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]  # the sign is fixed by convention
    return np.asarray(centred @ (axes * np.sign(largest)), np.float64)


def bins(column: Floats, most: int) -> tuple[Ints, int]:
    """A bin of each value [n], and how many bins there are: 0 is missing.

    Values of at least 1/``most`` of the rows (all, where there are at most that many) have a bin of their own, the
    others share at most ``most`` bins by their quantiles.

    >>> bins(np.array([5.0, 5.0, np.nan, 7.0]), 4)
    (array([1, 1, 0, 2]), 4)
    """
    missing = np.isnan(column)
    values, counts = np.unique(column[~missing], return_counts=True)
    own = values if len(values) <= most else values[counts >= np.count_nonzero(~missing) / most]
    rest = column[~missing & ~np.isin(column, own)]
    edges = np.unique(np.quantile(rest, np.linspace(0, 1, most + 1)[1:-1])) if len(rest) else np.zeros(0)
    shared = 1 + len(own) + np.searchsorted(edges, column, side="right")
    at = np.searchsorted(own, column)
    hit = own[np.minimum(at, len(own) - 1)] == column if len(own) else np.zeros(len(column), np.bool_)
    return np.where(missing, 0, np.where(hit, 1 + at, shared)).astype(np.int64), 2 + len(own) + len(edges)


def _number(column: Floats) -> Floats:
    """[n, 2]: the standardised number, and whether it is missing."""
    value = np.arcsinh(np.clip(column, -1e300, 1e300))
    known = ~np.isnan(value)
    mean, deviation = (value[known].mean(), value[known].std()) if known.any() else (0.0, 0.0)
    if deviation <= 1e-9 * max(1.0, abs(mean)):  # rounding, no spread
        return np.column_stack([np.zeros(len(value)), ~known])
    standard = np.where(known, np.clip((value - mean) / deviation, -FARTHEST, FARTHEST), 0.0)
    return np.column_stack([standard, ~known])


def _one_hot(column: Floats) -> Floats:
    """[n, values]: one column for each frequent value, one for all others; missing and UNSEEN are values too."""
    value = np.where(np.isnan(column), MISSING, column)
    values, of, counts = np.unique(value, return_inverse=True, return_counts=True)
    rank = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")
    place = np.minimum(rank, MOST_CATEGORIES)[of]
    return np.asarray(place[:, None] == np.arange(min(len(values), MOST_CATEGORIES + 1)), np.float64)
