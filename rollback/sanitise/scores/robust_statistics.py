"""Rows with values that are rare under their label, one feature at a time."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from detectors.batch import Floats, Ints
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material, Rate
from rollback.sanitise.scores.score import Score

WORST: Final = 3
"""A row has the mean of its so many most surprising cells."""


class RobustStatistics(Score):
    """Mean surprise of a row's three worst cells, by the base rows (of other folds) of the same label.

    Surprise of a number: -ln of the share of those rows whose |value - median| / MAD is at least as large; of a
    category: -ln of its share. Source: F. Hampel (1974), "The influence curve and its role in robust estimation", for
    median and MAD; the tail probability per feature as in Z. Li et al., "ECOD" (2022),
    https://arxiv.org/abs/2201.00382.
    """

    name: ClassVar[str] = "robust_statistics"
    says: ClassVar[str] = "values that are rare under its label"
    judges_label: ClassVar[bool] = False

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        plain, y = material.plain, material.y
        kinds = [f.kind for f in material.base.schema.features]

        def fit(known: Ints) -> Rate:
            def rate(rows: Ints) -> Floats:
                surprise = np.zeros((len(rows), len(kinds)))
                for label in np.unique(y[rows]).tolist():
                    own, same = y[rows] == label, known[y[known] == label]
                    for j, kind in enumerate(kinds):
                        measure = _tail if kind == "numeric" else _share
                        surprise[own, j] = measure(plain[same, j], plain[rows[own], j])
                return surprise

            return rate

        return material.crossed_cells(fit, _worst)


def _worst(surprise: Floats) -> Floats:
    return np.asarray(np.sort(surprise, axis=1)[:, -WORST:].mean(axis=1), np.float64)


def _tail(known: Floats, value: Floats) -> Floats:
    """-ln P(|X - median| >= |value - median|); the unit (MAD) does not matter to it."""
    centre = np.median(known) if len(known) else 0.0
    far = np.sort(np.abs(known - centre))
    beyond = len(far) - np.searchsorted(far, np.abs(value - centre), side="left")
    return np.asarray(-np.log((beyond + 0.5) / (len(far) + 0.5)), np.float64)


def _share(known: Floats, value: Floats) -> Floats:
    values, counts = np.unique(known, return_counts=True)
    if not len(values):
        return np.zeros(len(value))
    at = np.minimum(np.searchsorted(values, value), len(values) - 1)
    return np.asarray(-np.log((np.where(values[at] == value, counts[at], 0) + 0.5) / (len(known) + 0.5)), np.float64)
