"""Each feature on its own: Kolmogorov-Smirnov where it is continuous, exact binomial tails where it has few values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import betainc, betaincc

from detectors.batch import Floats, Ints
from detectors.nulls.block_null import dispersion, ks_distances, ks_margin, ks_p
from detectors.schema import Schema
from detectors.sequential import upper_bound

_MOST_VALUES: Final = 32  # a numeric feature with at most so many values in the reference is tested value by value
_WATCHED: Final = 0.02  # a value that the reference surely holds this often is also tested for having gone


def benjamini_hochberg(p: Floats, rate: float) -> Floats:
    """Which hypotheses to reject at a false-discovery rate (Benjamini & Hochberg 1995), as 0/1.

    >>> benjamini_hochberg(np.array([0.001, 0.9, 0.02, 0.6]), 0.05).tolist()
    [1.0, 0.0, 1.0, 0.0]
    """
    order = np.argsort(p)
    passed = np.flatnonzero(p[order] <= rate * np.arange(1, len(p) + 1) / len(p))
    rejected = np.zeros(len(p))
    if len(passed):
        rejected[order[: passed[-1] + 1]] = 1.0
    return rejected


def centre_and_scale(values: Floats) -> tuple[Floats, Floats]:
    """Median and IQR/1.349 of each column; the standard deviation where the IQR is 0, and 1 where that is too.

    >>> centre_and_scale(np.array([[1.0, np.nan], [3.0, np.nan]]))[0].tolist()
    [2.0, 0.0]
    """
    centre, scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
    for j in range(values.shape[1]):
        known = values[~np.isnan(values[:, j]), j]
        if len(known):
            low, centre[j], high = np.quantile(known, (0.25, 0.5, 0.75))
            scale[j] = (high - low) / 1.349 or known.std() or 1.0
    return centre, scale


_LARGEST: Final = 1e150


def standardised(values: Floats, centre: Floats, scale: Floats) -> Floats:
    """The columns as asinh((x - centre)/scale), which tames heavy tails; what is missing lies at the centre.

    >>> standardised(np.array([[5.0, np.nan]]), np.array([5.0, 0.0]), np.ones(2)).tolist()
    [[0.0, 0.0]]
    >>> bool(np.isfinite(standardised(np.array([[1.7e308]]), np.zeros(1), np.array([1e-3]))).all())
    True
    """
    within = np.clip(values, -_LARGEST, _LARGEST)  # else the largest floats overflow, and one event blinds a detector
    return np.asarray(np.nan_to_num(np.arcsinh((within - centre) / scale), nan=0.0), np.float64)


@dataclass(frozen=True, slots=True)
class _Cells:
    """The values of one feature: known ones (sorted), then one cell for unknown and one for missing values."""

    values: Floats

    def of(self, column: Floats) -> Ints:
        """Cell of each entry."""
        known = len(self.values)
        if known == 0:
            return np.where(np.isnan(column), 1, 0)
        at = np.minimum(np.searchsorted(self.values, column), known - 1)
        other = np.where(np.isnan(column), known + 1, known)
        return np.where(self.values[at] == column, at, other)

    def __len__(self) -> int:
        return len(self.values) + 2


class Marginals:
    """Tests of x[m, d], one event a session, against x[n, d] of the reference, likewise.

    Null for a feature: its m values are independent draws from the distribution that the reference's n came from.
    Continuous: KS distance, less `ks_margin`; missing counts as below every value. Few values (categorical, binary or
    at most 32): each cell's count (unseen and missing are cells) against Clopper-Pearson bounds of its share in the
    reference, p = (number of tests) * min of binomial tails; exact where chi-square and G are not, in sparse cells.
    All bounds hold jointly with probability 1 - ``level``; given them, P(p <= u) <= u in every window, independently.
    Counts are divided by the feature's `dispersion` over session blocks.
    """

    def __init__(self, schema: Schema, x: Floats, level: float, rng: np.random.Generator) -> None:
        n, d = x.shape
        self._cells = {j: cells for j in range(d) if (cells := _cells_of(schema, x, j)) is not None}
        self._continuous = [j for j in range(d) if j not in self._cells]
        self._sorted = {j: np.sort(_missing_low(x[:, j])) for j in self._continuous}
        self._sizes = np.array([len(c) for c in self._cells.values()], np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        # where the values are 0, 1, 2, ... as codes of categories are, they are their cells: all columns at once
        plain = [np.array_equal(c.values, np.arange(len(c.values))) for c in self._cells.values()]
        self._is_named = np.array(plain, np.bool_)
        self._named = np.array(list(self._cells), np.int64)[self._is_named]
        self._vocabulary = self._sizes[self._is_named] - 2
        self._share = self._counts(x) / n
        self._dispersion = dispersion(lambda rows: self._squares(x[rows]), n, rng)
        share = level / d
        if self._continuous:
            self._margin = ks_margin(n / self._dispersion[self._continuous], share)
        self._bound_cells(n, share)

    def p_values(self, x: Floats) -> tuple[Floats, Floats]:
        """For each feature p [d] and effect [d]: KS distance, or total variation distance over the cells."""
        m, d = x.shape
        p, effect = np.ones(d), np.zeros(d)
        if m == 0:
            return p, effect
        if self._continuous:
            distance = self._ks(x)
            effect[self._continuous] = distance
            p[self._continuous] = ks_p(distance, self._margin, m / self._dispersion[self._continuous])
        if self._cells:
            counts = self._counts(x)
            owners = list(self._cells)
            effect[owners] = 0.5 * np.add.reduceat(np.abs(counts / m - self._share), self._starts)
            tails = np.minimum.reduceat(self._tails(counts, m), self._starts)
            p[owners] = np.minimum(1.0, tails * self._tests)
        return p, effect

    def codes(self, x: Floats) -> Ints:
        """Cell of each value of the features with few values, [m, c], numbered over all of them."""
        codes = np.zeros((len(x), len(self._cells)), np.int64)
        named = x[:, self._named]
        within = (named >= 0) & (named < self._vocabulary) & (named == np.floor(named))
        odd = self._vocabulary + np.isnan(named)
        codes[:, self._is_named] = np.where(within, np.where(within, named, 0.0), odd)
        for column, (j, cells) in enumerate(self._cells.items()):
            if not self._is_named[column]:
                codes[:, column] = cells.of(x[:, j])
        return codes + self._starts

    @property
    def continuous(self) -> list[int]:
        """Positions of the features that are not tested value by value."""
        return self._continuous

    @property
    def dispersion(self) -> Floats:
        """How many times more session blocks of the reference differ than random ones, for each feature [d]."""
        return self._dispersion

    @property
    def cells(self) -> int:
        """Number of cells over all features."""
        return int(self._sizes.sum())

    def _bound_cells(self, n: int, share: float) -> None:
        """Bounds of every cell's rate, and which tests there are: all cells up, common ones also down."""
        if not self._cells:
            return
        spread = np.repeat(self._dispersion[list(self._cells)], self._sizes)
        level = 1 - share / np.repeat(2 * self._sizes, self._sizes)
        trials, hits = n / spread, self._share * n / spread
        self._upper = _bound(hits, trials, level)
        self._lower = 1 - _bound(trials - hits, trials, level)
        self._spread = spread
        self._watched = self._lower >= _WATCHED
        self._tests = self._sizes + np.add.reduceat(self._watched.astype(np.int64), self._starts)

    def _tails(self, counts: Floats, m: int) -> Floats:
        """Smallest binomial tail of each cell; real-valued counts, for dispersion divides them."""
        k, n = counts / self._spread, m / self._spread
        tail = np.ones(len(counts))
        up = np.flatnonzero(k > n * self._upper)
        tail[up] = betainc(k[up], n[up] - k[up] + 1, self._upper[up])
        down = np.flatnonzero(self._watched & (k < n * self._lower))
        tail[down] = betaincc(k[down] + 1, n[down] - k[down], self._lower[down])
        return tail

    def _counts(self, x: Floats) -> Floats:
        return np.bincount(self.codes(x).ravel(), minlength=self.cells).astype(np.float64)

    def _ks(self, x: Floats) -> Floats:
        return ks_distances(list(self._sorted.values()), _missing_low(x[:, self._continuous]))

    def _squares(self, x: Floats) -> Floats:
        """Squared distances [d] from the reference: KS squared, or chi-square over the cells that it holds."""
        out = np.zeros(x.shape[1])
        if self._continuous:
            out[self._continuous] = self._ks(x) ** 2
        if self._cells:
            gap = (self._counts(x) / len(x) - self._share) ** 2
            out[list(self._cells)] = np.add.reduceat(gap / np.maximum(self._share, 1e-12), self._starts)
        return out


def _cells_of(schema: Schema, x: Floats, j: int) -> _Cells | None:
    """The cells of feature ``j``; None where it is continuous."""
    column = x[:, j]
    known = np.unique(column[~np.isnan(column)])
    if schema.features[j].kind == "categorical":
        return _Cells(np.union1d(known[known >= 0], np.arange(len(schema.features[j].vocabulary), dtype=np.float64)))
    return _Cells(known) if len(known) <= _MOST_VALUES else None


def _missing_low(column: Floats) -> Floats:
    return np.where(np.isnan(column), -np.inf, column)


def _bound(hits: Floats, trials: Floats, level: Floats) -> Floats:
    """Clopper-Pearson upper bounds, each at its own level."""
    out = np.ones(len(hits))
    for value in np.unique(level):
        rows = level == value
        out[rows] = upper_bound(hits[rows], trials[rows], float(value))
    return out
