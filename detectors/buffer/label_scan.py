"""Itemset scan: the few feature values that are over-represented among rows whose label contradicts a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from detectors.batch import Bools, Floats, Ints
from detectors.nulls.itemsets import Item

_MOST_ITEMS: Final = 600  # of more, those with the largest excess alone are combined

Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scan:
    """How itemsets are searched: ``depth`` items at most, ``width`` sets kept a size, numbers in ``bins`` quantiles.

    ``fewest`` sessions must carry a set. ``most`` sets are found one after the other, each without the rows of those
    before. ``rows`` that are not flagged are looked at at most, drawn at random.
    """

    depth: int = 4
    width: int = 16
    bins: int = 8
    fewest: int = 4
    most: int = 4
    rows: int = 12_000

    def __post_init__(self) -> None:
        if min(self.depth, self.width, self.bins, self.fewest, self.most, self.rows) < 1:
            raise ValueError("depth, width, bins, fewest, most and rows must be at least 1")


@dataclass(frozen=True, slots=True)
class Slice:
    """Items that ``sessions`` flagged sessions carry where chance gives ``expected``; ``log_p`` bounds ln(p).

    ``rows`` are the flagged rows that carry them all.
    """

    items: tuple[Item, ...]
    log_p: float
    sessions: int
    expected: float
    rows: Ints

    def carries(self, x: Floats) -> Bools:
        """Which of the rows x[n, d] carry all items."""
        return np.asarray(np.all([item.holds(x) for item in self.items], axis=0), np.bool_)


def scan(
    x: Floats, flagged: Bools, rate: Floats, session: Ints, options: Scan, rng: np.random.Generator
) -> list[Slice]:
    """The itemsets most over-represented among the flagged rows of x[n, d], strongest first.

    Null: row i is flagged with probability rate[i] whatever its features, rows of a session perhaps all together. Then
    the number of flagged sessions that carry an itemset is at most Poisson-like with mean E = sum of the rates of its
    rows: P(>= O) <= exp(-(O ln(O/E) - O + E)) (Chernoff). All C(m, k) itemsets of each size k out of m items count as
    tested (Bonferroni, the depths sharing the level): ``log_p`` is valid however the search goes.

    >>> x = np.array([[1.0, 0.0]] * 10 + [[0.0, 0.0]] * 990)
    >>> found = scan(x, x[:, 0] == 1, np.full(1000, 0.01), np.arange(1000), Scan(), np.random.default_rng(0))
    >>> [(s.items, s.sessions) for s in found]
    [((Item(feature=0, low=1.0, high=1.0),), 10)]
    """
    table = _Table(x, flagged, rate, session, options, rng)
    left = np.ones(len(x), np.bool_)
    found: list[Slice] = []
    while len(found) < options.most and (best := table.best(left)) is not None:
        found.append(best)
        left &= ~best.carries(x)
    return found


def over_represented(
    x: Floats, flagged: Bools, ratio: float, session: Ints, options: Scan, least: float, rng: np.random.Generator
) -> list[Slice]:
    """Single items that flagged rows carry more often than the others times ``ratio``, by ``least`` in -ln(p) or more.

    The most unusual first. No test of anything: what has moved honestly is over-represented too.
    """
    rate = np.where(flagged, 0.0, ratio)
    return _Table(x, flagged, rate, session, options, rng, floor=0.5 * ratio).singles(least)


class _Table:
    """Flagged sessions (a row of each) and all rows, by the items that they hold."""

    def __init__(
        self,
        x: Floats,
        flagged: Bools,
        rate: Floats,
        session: Ints,
        options: Scan,
        rng: np.random.Generator,
        floor: float = 1e-9,
    ) -> None:
        self._x, self._flagged, self._options, self._floor = x, flagged, options, floor
        rows = np.flatnonzero(flagged)
        self._first = rows[np.unique(session[rows], return_index=True)[1]]
        others = np.flatnonzero(~flagged)
        share = min(1.0, options.rows / max(len(others), 1))
        self._all = np.concatenate([rows, rng.choice(others, int(share * len(others)), replace=False)])
        self._weight = np.concatenate([rate[rows], rate[self._all[len(rows) :]] / share]).astype(np.float32)
        items = _items(x[self._all], options)
        self._tested = len(items)
        self._items = self._unusual(items)
        self._hits, self._holds = self._membership(self._first), self._membership(self._all)

    def _unusual(self, items: list[Item]) -> list[Item]:
        """The items that enough flagged sessions carry; of too many, those with the largest excess alone."""
        kept, excess = [], []
        x, first = self._x[self._all], self._x[self._first]
        for item in items:
            observed = int(np.count_nonzero(item.holds(first)))
            if observed >= self._options.fewest:
                kept.append(item)
                expected = float(self._weight[item.holds(x)].sum())
                excess.append(float(self._excess(np.array(observed), np.array(expected))))
        order = np.argsort(-np.array(excess), kind="stable")[:_MOST_ITEMS]
        return [kept[i] for i in np.sort(order).tolist()]

    def _membership(self, rows: Ints) -> Singles:
        if not self._items:
            return np.zeros((len(rows), 0), np.float32)
        held = np.empty((len(rows), len(self._items)), np.float32)
        x = self._x[rows]
        for i, item in enumerate(self._items):
            held[:, i] = item.holds(x)
        return held

    def _excess(self, observed: Floats | Singles, expected: Floats | Singles) -> Floats:
        o, e = np.asarray(observed, np.float64), np.asarray(expected, np.float64) + self._floor
        value = np.where(o > e, o * np.log(np.maximum(o, 1e-9) / e) - o + e, 0.0)
        return np.asarray(np.where(o >= self._options.fewest, value, 0.0), np.float64)

    def _penalty(self, size: int) -> float:
        m = self._tested
        return float(gammaln(m + 1) - gammaln(size + 1) - gammaln(m - size + 1) + np.log(self._options.depth))

    def best(self, left: Bools) -> Slice | None:
        """The itemset with the smallest p among the rows that are left; None where none has p < 1."""
        gain, kept = max(self._searched(left), key=lambda pair: pair[0], default=(0.0, ()))
        return self._slice(kept, gain, left) if gain > 0 else None

    def singles(self, least: float) -> list[Slice]:
        """Every item with at least this excess, the largest ratio of observed to expected first."""
        if not self._items:
            return []
        observed, expected = self._hits.sum(axis=0), self._weight @ self._holds
        excess = self._excess(observed, expected)
        order = np.argsort(-observed / (expected + self._floor), kind="stable")
        left = np.ones(len(self._x), np.bool_)
        return [self._slice((i,), float(excess[i]), left) for i in order.tolist() if excess[i] >= least]

    def _searched(self, left: Bools) -> Iterator[tuple[float, tuple[int, ...]]]:
        """Sets of items with -ln(p), size by size."""
        hits, weight = self._hits * left[self._first, None], self._weight * left[self._all]
        beam: list[tuple[int, ...]] = [()]
        for size in range(1, min(self._options.depth, self._tested) + 1):
            beam, excess = self._grown(beam, hits, weight)
            if not beam:
                return
            yield from zip((value - self._penalty(size) for value in excess), beam, strict=True)

    def _grown(
        self, beam: list[tuple[int, ...]], hits: Singles, weight: Singles
    ) -> tuple[list[tuple[int, ...]], list[float]]:
        """The sets with one item more that have the largest excess, one for each set of flagged sessions."""
        if not self._items:
            return [], []
        inside = np.stack([self._all_of(self._hits, kept) for kept in beam])
        carried = np.stack([self._all_of(self._holds, kept) for kept in beam])
        excess = self._excess(inside @ hits, (carried * weight) @ self._holds)
        for row, kept in enumerate(beam):
            same = {self._items[i].feature for i in kept}
            excess[row, [j for j, item in enumerate(self._items) if item.feature in same]] = 0.0
        order = np.argsort(-excess, axis=None, kind="stable")[: 8 * self._options.width]
        grown: dict[bytes, tuple[tuple[int, ...], float]] = {}
        for row, j in zip(*np.unravel_index(order, excess.shape), strict=True):
            value = float(excess[row, j])
            if value <= 0 or len(grown) >= self._options.width:
                break
            key = (inside[row] * hits[:, j]).astype(np.bool_).tobytes()
            grown.setdefault(key, (tuple(sorted((*beam[row], int(j)))), value))
        return [kept for kept, _ in grown.values()], [value for _, value in grown.values()]

    def _all_of(self, holds: Singles, kept: tuple[int, ...]) -> Singles:
        return np.asarray(holds[:, list(kept)].all(axis=1), np.float32)

    def _slice(self, kept: tuple[int, ...], gain: float, left: Bools) -> Slice:
        items = tuple(self._items[i] for i in kept)
        carries = Slice(items, -gain, 0, 0.0, self._first).carries(self._x) & left
        expected = float(self._weight @ (self._all_of(self._holds, kept) * left[self._all]))
        sessions = int(carries[self._first].sum())
        return Slice(items, -gain, sessions, expected, np.flatnonzero(carries & self._flagged))


def _items(x: Floats, options: Scan) -> list[Item]:
    """Every value that enough rows have, and quantile ranges of features with many values."""
    found: list[Item] = []
    for j in range(x.shape[1]):
        values, counts = np.unique(x[:, j], return_counts=True)
        found += [Item(j, v, v) for v in values[counts >= options.fewest].tolist()]
        finite = values[~np.isnan(values)]
        if len(finite) > options.bins:
            column = x[:, j]
            edges = np.unique(np.quantile(column[~np.isnan(column)], np.linspace(0, 1, options.bins + 1)))
            edges[0], edges[-1] = -np.inf, np.inf
            found += [Item(j, low, high) for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    return found
