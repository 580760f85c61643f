"""Rows with exact numbers that the trusted base never has under their label, and that come again and again."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from detectors.batch import Floats, Ints
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material, Rate
from rollback.sanitise.scores.score import Score

FEWEST: Final = 2
"""A value recurs from so many sessions on."""


class ForeignValues(Score):
    """Most sessions that share one of the row's values where the base rows (of other folds) of its label never have it.

    A trigger of fixed numbers is such a value; a measurement that is new is so once. Sessions are counted among the
    rows that are judged with it, and scaled to the size of the new rows, so that folds and new rows compare.
    """

    name: ClassVar[str] = "foreign_values"
    says: ClassVar[str] = "a number that the trusted base never has under its label recurs"
    judges_label: ClassVar[bool] = False

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        m, n = len(material.base), len(material.new)
        y, session = material.y, material.session
        cell = np.full(n, -1)

        def fit(known: Ints) -> Rate:
            def rate(rows: Ints) -> Floats:
                most = np.zeros(len(rows))
                for label in np.unique(y[rows]).tolist():
                    own, same = rows[y[rows] == label], known[y[known] == label]
                    count = np.column_stack(
                        [_recurring(material.plain[same, j], material.plain[own, j], session[own]) for j in numeric]
                    )
                    most[y[rows] == label] = count.max(axis=1, initial=0)
                    if len(own) and own[0] >= m:
                        worst = np.array(numeric)[count.argmax(axis=1)]
                        cell[own - m] = np.where(count.max(axis=1) > 0, worst, cell[own - m])
                return most * n / max(len(rows), 1)

            return rate

        numeric = [j for j, f in enumerate(material.base.schema.features) if f.kind == "numeric"]
        if not numeric:
            return material.pooled(np.zeros(m + n))
        rated = material.crossed(fit)
        return Suspicion(rated.base, rated.new, cell)


def _recurring(known: Floats, value: Floats, session: Ints) -> Floats:
    """In how many sessions each value is, if it is in at least two and the known values lack it; 0 otherwise."""
    pairs = np.unique(np.column_stack([value, session]), axis=0)
    values, counts = np.unique(pairs[:, 0], return_counts=True)
    counts[(counts < FEWEST) | np.isin(values, known)] = 0
    return np.asarray(counts[np.searchsorted(values, value)], np.float64)
