"""Rows in which columns that go together do not."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from detectors.batch import Floats, Ints
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material, Rate
from rollback.sanitise.scores.score import Score

LEAST: Final = 0.3
"""Pairs that correlate less (absolutely) are no pairs."""
MOST: Final = 200
ROUNDING: Final = 1e-9


class CorrelationBreaks(Score):
    """Largest |u_j - r u_i| / sqrt(1 - r^2) over pairs of columns of standardised points that correlate in the base.

    Pairs are those of |r| >= .3 among base rows of other folds, at most the 200 closest. The pair is judged within the
    label. Source: the residual of a regression as in Y. Zhao et al., "PyOD" (2019), https://arxiv.org/abs/1901.01588;
    F. Keller et al., "HiCS: High Contrast Subspaces" (2012), for breaks that show in a pair of columns only.
    """

    name: ClassVar[str] = "correlation_breaks"
    says: ClassVar[str] = "columns that go together do not"
    judges_label: ClassVar[bool] = False

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        points, y = material.points, material.y

        def fit(known: Ints) -> Rate:
            pairs = {label: _pairs(points[known[y[known] == label]]) for label in np.unique(y[known]).tolist()}

            def rate(rows: Ints) -> Floats:
                broken = np.zeros(len(rows))
                for label, (mean, scale, i, j, r) in pairs.items():
                    own = y[rows] == label
                    if len(i):
                        u = (points[rows[own]] - mean) / scale
                        broken[own] = np.max(np.abs(u[:, j] - r * u[:, i]) / np.sqrt(1 - r * r), axis=1, initial=0.0)
                return broken

            return rate

        return material.crossed(fit)


def _pairs(points: Floats) -> tuple[Floats, Floats, Ints, Ints, Floats]:
    """Mean and scale of the columns, and of each ordered pair of correlated columns: i, j and r."""
    mean, scale = points.mean(axis=0), points.std(axis=0)
    scale = np.where(scale > ROUNDING, scale, 1.0)
    u = (points - mean) / scale
    r = np.clip(u.T @ u / len(u), -0.999, 0.999)
    np.fill_diagonal(r, 0)
    i, j = np.nonzero(np.abs(r) >= LEAST)
    closest = np.argsort(-np.abs(r[i, j]), kind="stable")[:MOST]
    return mean, scale, i[closest], j[closest], r[i, j][closest]
