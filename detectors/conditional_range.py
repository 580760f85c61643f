"""Does a value still fit the other features of its event? The range that its neighbours in the reference have."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Bools, Floats
from detectors.marginals import centre_and_scale, standardised

_NEIGHBOURS: Final = 10
_ROWS: Final = 1000
_BASELINE_ROWS: Final = 200


class ConditionalRange:
    """Excess share of values outside the range of their 10 nearest neighbours on the *other* features.

    A change of unit moves one feature away from what the rest of the event says; an honest change mostly does not.
    Distance: standardised numeric columns, plus 1 for each categorical value that differs. The reference's own share
    (each row against the others) is taken off.

    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=500)
    >>> x = np.column_stack([a, a + 0.1 * rng.normal(size=500)])
    >>> ranges = ConditionalRange(x, np.zeros(2, bool), rng)
    >>> bool(ranges.excess(x[:50] * [8.0, 1.0], 0) > 0.5), bool(abs(ranges.excess(x[:50], 0)) < 0.2)
    (True, True)
    """

    def __init__(self, x: Floats, categorical: Bools, rng: np.random.Generator) -> None:
        self._x = x[rng.permutation(len(x))[:_ROWS]]
        self._categorical = categorical
        self._centre, self._scale = centre_and_scale(self._x)
        self._standard = self._project(self._x)
        self._baseline: dict[int, float] = {}

    def excess(self, x: Floats, j: int) -> float:
        """Share of x[m, d] whose value of feature ``j`` lies outside, less the reference's own share."""
        if j not in self._baseline:
            self._baseline[j] = self._outside(self._x[:_BASELINE_ROWS], j, itself=True)
        return self._outside(x, j) - self._baseline[j]

    def _project(self, x: Floats) -> Floats:
        return np.where(self._categorical, np.nan_to_num(x, nan=-2.0), standardised(x, self._centre, self._scale))

    def _outside(self, x: Floats, j: int, *, itself: bool = False) -> float:
        x = x[~np.isnan(x[:, j])]
        count = min(_NEIGHBOURS, len(self._x) - 1)
        if len(x) == 0 or count < 1:
            return 0.0
        distance = self._distances(self._project(x), j)
        if itself:
            distance[np.arange(len(x)), np.arange(len(x))] = np.inf
        near = self._x[np.argpartition(distance, count - 1, axis=1)[:, :count], j]
        low, high = np.fmin.reduce(near, axis=1), np.fmax.reduce(near, axis=1)
        return float(np.mean((x[:, j] < low) | (x[:, j] > high)))

    def _distances(self, standard: Floats, j: int) -> Floats:
        others = np.arange(standard.shape[1]) != j
        numeric, named = others & ~self._categorical, others & self._categorical
        a, b = standard[:, numeric], self._standard[:, numeric]
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        for column in np.flatnonzero(named):
            squares += standard[:, column, None] != self._standard[:, column]
        return np.asarray(squares, np.float64)
