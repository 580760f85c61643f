"""Mid-ranks of many values in many columns at once, from a bounded table."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats, Places

_MISSING: Final = -0.5
_MOST: Final = 1023  # values of a column that are kept, evenly over its ranks: ranks are off by half a step at most


class RankTable:
    """Mid-ranks, 0 to 1, in the columns of x[n, d]: the share of a column below a value and half of what equals it.

    Of a column with more than 1,023 different values some are kept; a value between two of them has the rank halfway,
    which is at most 1/2,000 off.

    >>> RankTable(np.array([[1.0], [2.0], [2.0], [5.0]])).of(np.array([[2.0], [3.0], [9.0], [np.nan]])).ravel().tolist()
    [0.5, 0.75, 1.0, -0.5]
    """

    def __init__(self, x: Floats) -> None:
        kept = [_kept(np.sort(column[np.isfinite(column)])) for column in x.T]
        self._steps = max((len(values) for values, _, _ in kept), default=0).bit_length()
        self._size = 1 << self._steps
        self._values = np.full((len(kept), self._size), np.inf)
        self._equal = np.zeros((len(kept), self._size), np.float32)
        self._between = np.zeros((len(kept), self._size), np.float32)
        for j, (values, equal, between) in enumerate(kept):
            self._values[j, : len(values)] = values
            self._equal[j, : len(values)] = equal
            self._between[j, : len(between)] = between

    def of(self, x: Floats) -> Places:
        """Ranks [m, d] of x[m, d], as float32; -0.5 where a value is missing or infinite."""
        columns = np.ascontiguousarray(x.T)
        finite = np.isfinite(columns)
        values = self._values.ravel()
        start = np.arange(len(columns))[:, None] * self._size
        at = np.broadcast_to(start, columns.shape).copy()
        step = self._size >> 1
        while step:  # a binary search in all columns side by side: each has less than ``size`` values, then infinity
            at += np.multiply(values.take(at + (step - 1)) < columns, step)
            step >>= 1
        rank = np.where(values.take(at) == columns, self._equal.take(at), self._between.take(at))
        return np.asarray(np.where(finite, rank, np.float32(_MISSING)).T)


def _kept(ordered: Floats) -> tuple[Floats, Floats, Floats]:
    """Values [k], ranks of what equals each of them [k], and ranks between them [k + 1]."""
    n = len(ordered)
    if not n:
        return ordered, ordered, np.array([0.5])
    values = np.unique(ordered)
    if len(values) > _MOST:
        values = np.unique(ordered[np.linspace(0, n - 1, _MOST).round().astype(np.int64)])
    below, up_to = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    between = (np.append(below, n) + np.insert(up_to, 0, 0)) / (2 * n)
    return values, (below + up_to) / (2 * n), between
