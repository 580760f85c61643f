"""Finds the slices of one label, one after another: the pair with the largest excess, grown while that helps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from detectors.batch import Bools, Floats, Ints
from rollback.sanitise.pair_excess import Comparison, Pairs, Scope, allowed_pairs, excess

GAIN = 0.25
"""Another item has to raise z by this much."""


@dataclass(frozen=True, slots=True)
class Core:
    """Items (by number) that are in excess together in a scope; ``z`` by how much.

    ``pair_z`` is that of the pair which they grew from: what the null speaks of, for it knows nothing of growing.
    """

    items: tuple[int, ...]
    scope: Scope
    z: float
    pair_z: float


@dataclass(slots=True)
class _Table:
    """One scope's counts; ``best`` is its largest z and the pair that has it."""

    scope: Scope
    rows: Bools
    counted: Pairs
    expected: Pairs
    best: tuple[float, int, int]


class SliceSearch:
    """What is left to be explained of the new rows of one label, in some scopes. Explained rows are set aside."""

    def __init__(self, comparison: Comparison, features: Ints, scopes: Iterable[Scope]) -> None:
        self._comparison = comparison
        self._features = features
        self._first, self._second = np.nonzero(allowed_pairs(features))
        self._left = np.ones(len(comparison.new.low), np.bool_)
        self._tables = [
            _Table(scope, scope.rows(comparison.new), n, e, self._best(n, e))
            for scope, n, e in comparison.tables(scopes)
        ]

    def next(self) -> Core | None:
        """The slice with the largest z among the rows that are left."""
        table = max(self._tables, key=lambda t: t.best[0], default=None)
        if table is None or not table.best[0]:
            return None
        z, first, second = table.best
        return self._grown(Core((first, second), table.scope, z, z), table.rows & self._left)

    @property
    def left(self) -> Bools:
        """Rows [n] that no slice explains so far."""
        return self._left

    def set_aside(self, rows: Bools) -> None:
        """Look no more at these rows [n]."""
        rows = rows & self._left
        self._left = self._left & ~rows
        for table in self._tables:
            gone = rows & table.rows
            if gone.any():
                table.counted -= self._comparison.new.pairs(gone)
                table.best = self._best(table.counted, table.expected)

    def _best(self, counted: Pairs, expected: Pairs) -> tuple[float, int, int]:
        z = excess(counted[self._first, self._second], expected[self._first, self._second])
        at = int(z.argmax()) if len(z) else 0
        return (float(z[at]), int(self._first[at]), int(self._second[at])) if len(z) else (0.0, 0, 0)

    def _grown(self, core: Core, rows: Bools) -> Core:
        """Add the item that raises z most, while one does by at least .25."""
        new, base = self._comparison.new, self._comparison.base
        while True:
            counted = new.singles(rows & new.carriers(core.items))
            expected = self._comparison.expected_singles(core.scope, base.carriers(core.items))
            z: Floats = excess(counted, expected)
            z[np.isin(self._features, self._features[list(core.items)])] = 0
            at = int(z.argmax())
            if z[at] < core.z + GAIN:
                return core
            core = Core((*core.items, at), core.scope, float(z[at]), core.pair_z)
