"""Which pairs of items are more frequent in new rows than the trusted base lets expect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Bools, Floats, Ints, Strings

FEWEST = 4.0
"""Sessions that a slice needs."""
FEWEST_IN_SOURCE = 20.0
MOST_SOURCES = 16
"""Scopes of their own, those with the most new rows first; the rest is in the scope of all sources."""
CHUNK = 8192

Pairs = NDArray[np.float32]


def excess(counted: NDArray[Any], expected: NDArray[Any]) -> NDArray[Any]:
    """The signed root of a Poisson deviance: z = sqrt(2 (n ln(n/e) - n + e)) where n > e and n >= 4, else 0.

    >>> excess(np.array([10.0, 1.0, 5.0]), np.array([1.0, 0.1, 9.0])).round(3).tolist()
    [5.296, 0.0, 0.0]
    """
    z = np.zeros(np.shape(counted), counted.dtype)
    more = (counted >= FEWEST - 1e-3) & (counted > expected)
    n, e = counted[more], expected[more]
    z[more] = np.sqrt(2 * np.maximum(n * np.log(n / e) - n + e, 0))
    return z


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows of one label, ready for counting.

    ``held`` bool[n, items], ``weight`` [n] (a session has one vote), ``source`` [n], ``low`` [n]: the label surprises
    models of the base, and ``named`` [n]: an incident implicates the row.
    """

    held: Bools
    weight: Floats
    source: Strings
    low: Bools
    named: Bools

    def total(self, rows: Bools | None = None) -> float:
        """The votes (of some rows)."""
        return float(self.weight.sum() if rows is None else self.weight[rows].sum())

    def carriers(self, items: tuple[int, ...]) -> Bools:
        """Which rows [n] have all of these items."""
        return np.asarray(self.held[:, list(items)].all(axis=1), np.bool_)

    def pairs(self, rows: Bools | Ints) -> Pairs:
        """Votes of every pair of items, [items, items], of some rows."""
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        items = self.held.shape[1]
        counts = np.zeros((items, items), np.float32)
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            held = self.held[part].astype(np.float32)
            counts += (held * self.weight[part, None].astype(np.float32)).T @ held
        return counts

    def singles(self, rows: Bools) -> Floats:
        """Votes of every item, [items], of some rows."""
        picked = np.flatnonzero(rows)
        return np.asarray(self.weight[picked] @ self.held[picked], np.float64)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a slice is looked for: one source or all (None); all rows or only ``low`` ones; only ``named`` ones."""

    source: str | None
    low: bool
    named: bool = False

    def rows(self, counted: Counted) -> Bools:
        """The rows of the scope."""
        inside = counted.low.copy() if self.low else np.ones(len(counted.low), np.bool_)
        if self.named:
            inside &= counted.named
        return inside if self.source is None else inside & (counted.source == self.source)


@dataclass(frozen=True, slots=True)
class Comparison:
    """New rows of one label beside base rows of that label, item by item."""

    base: Counted
    new: Counted
    base_votes: Mapping[str | None, float]
    new_votes: Mapping[str | None, float]
    """Votes of each source (None: of all) with any label."""
    named_votes: float = 0.0
    """Votes of the implicated new rows with any label."""

    def named_scopes(self) -> Iterator[Scope]:
        """The implicated rows, where there are enough of them."""
        if self.new.total(self.new.named) >= FEWEST:
            yield Scope(None, low=False, named=True)
            yield Scope(None, low=True, named=True)

    def scopes(self) -> Iterator[Scope]:
        """All scopes with enough new rows."""
        names, of = np.unique(self.new.source, return_inverse=True)
        votes = np.bincount(of, self.new.weight, minlength=len(names))
        largest = np.argsort(-votes, kind="stable")[:MOST_SOURCES]
        own = [str(names[i]) for i in sorted(largest.tolist()) if votes[i] >= FEWEST_IN_SOURCE]
        for source in (None, *(own if len(names) > 1 else ())):
            yield Scope(source, low=False)
            yield Scope(source, low=True)

    def exposures(self, scope: Scope) -> tuple[float, float]:
        """Votes of new rows per vote of the base, and per vote of the base in the same source (0: too few there).

        The larger of the ratios among the label's rows and among all: neither another mix of labels nor rows that a
        wrong label took away from this one make the rest look like too many.
        """
        source = scope.source
        label, every = self._in_source(self.new, source), self.new_votes.get(source, 0.0)
        if scope.named:
            label, every = self.new.total(self.new.named), self.named_votes
        overall = max(label / max(self.base.total(), 1.0), every / max(self.base_votes[None], 1.0))
        same, all_same = self._in_source(self.base, source), self.base_votes.get(source, 0.0)
        if source is None or same < FEWEST_IN_SOURCE:
            return overall, 0.0
        return overall, max(label / same, every / all_same)

    @staticmethod
    def _in_source(counted: Counted, source: str | None) -> float:
        return counted.total() if source is None else counted.total(counted.source == source)

    def tables(self, scopes: Iterable[Scope]) -> Iterator[tuple[Scope, Pairs, Pairs]]:
        """Of each of these scopes the votes of all pairs of items, n, and what the base lets expect, e.

        e = (base votes + 1/2) x exposure: the larger one of all base rows and those of the same source.
        """
        trusted = {low: self.base.pairs(Scope(None, low).rows(self.base)) for low in (False, True)}
        for scope in scopes:
            overall, same = self.exposures(scope)
            expected = (trusted[scope.low] + np.float32(0.5)) * np.float32(overall)
            if same:
                own = (self.base.pairs(scope.rows(self.base)) + np.float32(0.5)) * np.float32(same)
                expected = np.maximum(expected, own)
            yield scope, self.new.pairs(scope.rows(self.new)), expected

    def expected_singles(self, scope: Scope, core: Bools) -> Floats:
        """What the base lets expect of every item together with a core; ``core`` bool[m] are base rows with it."""
        overall, same = self.exposures(scope)
        expected = (self.base.singles(Scope(None, scope.low).rows(self.base) & core) + 0.5) * overall
        if same:
            expected = np.maximum(expected, (self.base.singles(scope.rows(self.base) & core) + 0.5) * same)
        return np.asarray(expected, np.float64)

    def expected(self, scope: Scope, core: Bools) -> float:
        """The same for a core itself."""
        overall, same = self.exposures(scope)
        expected = (self.base.total(Scope(None, scope.low).rows(self.base) & core) + 0.5) * overall
        return max(expected, (self.base.total(scope.rows(self.base) & core) + 0.5) * same) if same else expected


def highest_excess(comparison: Comparison, features: Ints) -> float:
    """The largest z of any pair in any scope."""
    allowed = allowed_pairs(features)
    highest = [excess(n[allowed], e[allowed]).max(initial=0) for _, n, e in comparison.tables(comparison.scopes())]
    return float(max(highest, default=0.0))


def allowed_pairs(features: Ints) -> Bools:
    """Pairs of items of different features, each once: bool[items, items]."""
    return np.asarray(np.triu(features[:, None] != features[None, :]), np.bool_)
