"""Each feature at each source against that source's own past: what moves at one sensor drowns in the whole."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats, Ints, Strings
from detectors.nulls.block_null import ks_margin, ks_p

_STEPS: Final = 15
_FEWEST: Final = 30  # sessions of a source in the reference: with fewer the margin would hide everything


class SourceMarginals:
    """Kolmogorov-Smirnov on a grid, for s sources and d features: x[m, d], one event a session, against x[n, d].

    Grid: up to 15 quantiles of the feature in the whole reference, which catch its common values exactly; missing lies
    below every value. A distance on a grid is at most the distance itself, so the inequality of `ks_p` holds, for
    values of any kind.
    Null: a source's sessions are independent draws from what its sessions in the reference were drawn from. The
    reference's own error is bounded for all at once with probability 1 - ``level``; given that, P(p <= u) <= u.
    Sources with fewer than 30 sessions in the reference are not tested, and of the others the ``most`` busiest; one
    source alone is the whole, which is tested anyway. Counts are divided by ``dispersion`` [d].
    """

    def __init__(self, x: Floats, source: Strings, dispersion: Floats, level: float, most: int) -> None:
        names, count = np.unique(source, return_counts=True)
        busiest = [int(i) for i in np.argsort(-count, kind="stable")[:most] if count[i] >= _FEWEST]
        self.names: tuple[str, ...] = tuple(names[busiest].tolist()) if len(busiest) > 1 else ()
        """The sources that are tested."""
        self._number = {name: i for i, name in enumerate(self.names)}
        self._grid = _grid(x)
        self._dispersion = dispersion
        below, sessions = self._below(x, self._numbers(source))
        self._past = below / np.maximum(sessions, 1)[:, None, None]
        cells = max(len(self.names) * x.shape[1], 1)
        self._margin = ks_margin(sessions[:, None] / dispersion, level / cells)

    def p_values(self, x: Floats, source: Strings) -> tuple[Floats, Ints]:
        """The p-values [s, d], and how many sessions [s] each source has here (none: p is 1)."""
        below, sessions = self._below(x, self._numbers(source))
        now = below / np.maximum(sessions, 1)[:, None, None]
        distance = np.where(sessions[:, None] > 0, np.abs(now - self._past).max(axis=2, initial=0.0), 0.0)
        return ks_p(distance, self._margin, sessions[:, None] / self._dispersion), sessions

    def _numbers(self, source: Strings) -> Ints:
        return np.fromiter((self._number.get(name, -1) for name in source.tolist()), np.int64, len(source))

    def _below(self, x: Floats, number: Ints) -> tuple[Floats, Ints]:
        """How many of each source's values lie at or below each step of the grid [s, d, steps], and its sessions."""
        rows = np.flatnonzero(number >= 0)
        values, bins = x[rows], np.zeros((len(rows), x.shape[1]), np.int64)
        for step in range(_STEPS):  # one step after the other: all at once would not stay in the cache
            bins += values > self._grid[:, step]  # what is missing is greater than nothing
        shape = (len(self.names), x.shape[1], _STEPS + 1)
        cells = (number[rows][:, None] * shape[1] + np.arange(shape[1])) * shape[2] + bins
        counts = np.bincount(cells.ravel(), minlength=int(np.prod(shape))).reshape(shape)
        sessions = np.bincount(number[rows], minlength=len(self.names))
        return counts.cumsum(axis=2)[..., :-1].astype(np.float64), sessions


def _grid(x: Floats) -> Floats:
    """Quantiles of each column that are values of it: [d, steps]; zeros where nothing is known."""
    grid = np.zeros((x.shape[1], _STEPS))
    for j in range(x.shape[1]):
        known = x[~np.isnan(x[:, j]), j]
        if len(known):
            grid[j] = np.quantile(known, np.arange(1, _STEPS + 1) / (_STEPS + 1), method="lower")
    return grid
