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
        plain, y, session = material.plain, material.y, material.session
        numeric = [j for j, f in enumerate(material.base.schema.features) if f.kind == "numeric"]

        def fit(known: Ints) -> Rate:
            def rate(rows: Ints) -> Floats:
                count = np.zeros((len(rows), plain.shape[1]))
                for label in np.unique(y[rows]).tolist():
                    own, same = y[rows] == label, known[y[known] == label]
                    for j in numeric:
                        count[own, j] = _recurring(plain[same, j], plain[rows[own], j], session[rows[own]])
                return count * (len(material.new) / max(len(rows), 1))

            return rate

        return material.crossed_cells(fit, lambda count: np.asarray(count.max(axis=1), np.float64))


def _recurring(known: Floats, value: Floats, session: Ints) -> Floats:
    """In how many sessions each value is, if it is in at least two and the known values lack it; 0 otherwise."""
    pairs = np.unique(np.column_stack([value, session]), axis=0)
    values, counts = np.unique(pairs[:, 0], return_counts=True)
    counts[(counts < FEWEST) | np.isin(values, known)] = 0
    return np.asarray(counts[np.searchsorted(values, value)], np.float64)
