"""Does a value still fit the other features of its event? What its nearest neighbours in the reference have there."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Ints, Places
from detectors.faults.mixed_distance import MISSING, MixedDistance, nearest
from detectors.nulls.marginals import centre_and_scale, standardised

SEEN: Final = ("above", "below", "far above", "far below", "unlike")
"""What `ConditionalRange.seen` tells of a value, in this order."""

NEIGHBOURS: Final = 10
FEATURES: Final = 64
"""Features that are seen in one call at most: the cost of a window stays bounded."""

_ROWS: Final = 1000
_POOL: Final = 32  # nearest on all features, among which the nearest on all but one are looked for
_FAR: Final = 3.0
_REACH: Final = 3.0  # standardised distance in one feature, at most: one broken feature does not decide who is near
_CHUNK: Final = 64  # of rows: what they need stays in the cache


class ConditionalRange:
    """Values of x[m, d] against those of the 10 nearest reference events on the *other* features.

    A change of unit moves one feature away from what the rest of the event says; an honest change mostly does not.
    Distance: standardised numeric columns, plus 1 for each categorical value that differs; columns in ``without`` count
    for nothing.

    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=500)
    >>> x = np.column_stack([a, a + 0.1 * rng.normal(size=500)])
    >>> ranges = ConditionalRange(x, np.zeros(2, bool), rng)
    >>> ranges.unlike(x[:50] * [8.0, 1.0], 0, ())[0] > 0.5, ranges.unlike(x[:50], 0, (), rows=np.arange(50))[0] < 0.3
    (True, True)
    """

    def __init__(self, x: Floats, categorical: Bools, rng: np.random.Generator) -> None:
        self._rows = np.sort(rng.permutation(len(x))[:_ROWS])
        self._x = x[self._rows]
        self._categorical = categorical
        self._few = categorical | np.array([len(np.unique(c[~np.isnan(c)])) <= 2 for c in x.T])  # noqa: PLR2004 - two
        self._centre, self._scale = centre_and_scale(self._x)
        standard = self._project(self._x)
        self._distance = MixedDistance(standard, categorical)
        self._standard = np.ascontiguousarray(standard.T, np.float32)
        self._values = np.ascontiguousarray(self._x.T)

    def seen(self, x: Floats, features: Ints, *, rows: Ints | None = None) -> Bools:
        """What is seen [m, 5, d] of x[m, d] in some features: see `SEEN`; nothing in the others.

        Above, below: magnitudes outside the neighbours', far: three times so; zeros tell nothing there. Unlike: another
        value than most neighbours have where there are few (a category, a bit), else a null or zero that none has, or
        a number where none has one.
        ``rows`` of x in the reference are left out of their own neighbours.
        """
        out = np.zeros((len(x), len(SEEN), x.shape[1]), np.bool_)
        standard = self._project(x)
        distance = self._distances(standard, (), rows)
        for start in range(0, len(x), _CHUNK):
            part = slice(start, start + _CHUNK)
            near = self._all_but_one(standard[part].T[features], distance[part], features)
            compared = self._compared(x[part].T[features], near, self._few[features, None])
            out[part, :, features] = compared.transpose(2, 0, 1)
        return out

    def near(self, x: Floats, j: int, without: Collection[int], *, rows: Ints | None = None) -> Floats:
        """What the neighbours of x[m, d] have in feature ``j``: [m, 10]; ``rows`` as in `seen`."""
        distance = self._distances(self._project(x), {j, *without}, rows)
        count = min(NEIGHBOURS, max(distance.shape[1] - 1, 1))
        return np.asarray(self._values[j, nearest(distance, count)], np.float64)

    def unlike(self, x: Floats, j: int, without: Collection[int], *, rows: Ints | None = None) -> tuple[float, float]:
        """How unlike their neighbours x[m, d] are in feature ``j``: the mean and its squared standard error.

        A value is unlike by 1 where it is a magnitude outside the neighbours', or a null, zero or single value that
        none has; a binary feature or category by the share of neighbours that have another one, so that an inverted bit
        shows where both values are common. ``rows`` as in `near`.
        """
        each = self._unlike(x[:, j], self.near(x, j, without, rows=rows), j)
        return float(each.mean()), float((each.var() + 0.25 / len(each)) / len(each))

    def _all_but_one(self, standard: Floats, distance: Places, features: Ints) -> Floats:
        """Values [10, f, m] of the neighbours on all features but the one that is looked at; standard[f, m]."""
        pool = nearest(distance, min(_POOL, distance.shape[1]))
        gap = self._standard[features].take(pool, axis=1)
        gap -= standard[:, :, None].astype(np.float32)
        named = np.flatnonzero(self._categorical[features])
        own = np.multiply(gap, gap, out=gap)
        own[named] = own[named] > 0
        rest = np.subtract(np.take_along_axis(distance, pool, axis=1), own, out=own)
        np.maximum(rest, 0.0, out=rest)
        best = nearest(rest, min(NEIGHBOURS, pool.shape[1]), pool, below=distance.shape[1])
        row = np.ascontiguousarray(best.transpose(2, 0, 1)) + (features * distance.shape[1])[:, None]
        return np.asarray(self._values.take(row), np.float64)

    def _compared(self, x: Floats, near: Floats, few: Bools) -> Bools:
        """What is seen [5, f, m] of x[f, m] beside near[10, f, m]."""
        size = np.abs(x)
        low, high = _range(near)
        number = (size > 0) & ~few
        nulls = np.isnan(x)
        same = (near == x) | (np.isnan(near) & nulls)
        single = ((nulls | (x == 0)) & ~same.any(axis=0)) | (number & np.isnan(high))
        unlike = np.where(few, same.mean(axis=0) < 0.5, single)  # noqa: PLR2004 - most of them
        seen = [number & (size > high), number & (size < low)]
        seen += [number & (size > _FAR * high), number & (size < low / _FAR), unlike]
        return np.stack(seen)

    def _unlike(self, value: Floats, near: Floats, j: int) -> Floats:
        same = (near == value[:, None]) | (np.isnan(near) & np.isnan(value)[:, None])
        if self._few[j]:
            return np.asarray(1.0 - same.mean(axis=1), np.float64)
        known, count = np.unique(value[~np.isnan(value)], return_counts=True)
        single = np.isnan(value) | np.isin(value, known[count > max(0.1 * len(value), 2)])
        low, high = _range(near.T)
        inside = (np.abs(value) >= low) & (np.abs(value) <= high) & (value != 0) & ~single
        return np.asarray(~(inside | same.any(axis=1)), np.float64)

    def _project(self, x: Floats) -> Floats:
        numbers = np.clip(standardised(x, self._centre, self._scale), -_REACH, _REACH)
        return np.where(self._categorical, np.nan_to_num(x, nan=MISSING), numbers)

    def _distances(self, standard: Floats, without: Collection[int], rows: Ints | None) -> Places:
        distance = self._distance.of(standard, without=without)
        if rows is not None:
            distance[rows[:, None] == self._rows] = np.inf
        return distance


def _range(near: Floats) -> tuple[Floats, Floats]:
    """Least and largest magnitude over axis 0; zeros tell nothing. NaN where there is none."""
    sizes = np.abs(near)
    tells = sizes > 0
    low = np.where(tells, sizes, np.inf).min(axis=0)
    high = np.where(tells, sizes, -np.inf).max(axis=0)
    return np.where(high > 0, low, np.nan), np.where(high > 0, high, np.nan)
