"""Rows that lie far from the bulk of the trusted rows of their label."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from sklearn.covariance import LedoitWolf

from detectors.batch import Floats, Ints
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material, Rate
from rollback.sanitise.scores.score import Score

STEPS: Final = 3
BULK: Final = 0.75
FEWEST: Final = 4


class RobustMahalanobis(Score):
    """Mahalanobis distance to the bulk of the base rows (of other folds) of the same label, in the embedding.

    Mean and covariance (with shrinkage, so that it can be inverted) are fitted to the 75% nearest rows in turn, from
    the median on: the concentration steps of a regularised minimum covariance determinant. Source: K. Boudt et al.,
    "The minimum regularized covariance determinant estimator" (2020), Statistics and Computing 30.
    """

    name: ClassVar[str] = "robust_mahalanobis"
    says: ClassVar[str] = "it lies far from the bulk of its label"
    judges_label: ClassVar[bool] = False

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        where, y = material.embedded, material.y

        def fit(known: Ints) -> Rate:
            bulk = {
                label: _bulk(where[known[y[known] == label]])
                for label in np.unique(y[known]).tolist()
                if np.count_nonzero(y[known] == label) >= FEWEST
            }

            def rate(rows: Ints) -> Floats:
                far = np.zeros(len(rows))
                for label, (centre, precision) in bulk.items():
                    own = y[rows] == label
                    far[own] = _distance(where[rows[own]], centre, precision)
                return far

            return rate

        return material.crossed(fit)


def _bulk(points: Floats) -> tuple[Floats, Floats]:
    """Centre and precision matrix of the bulk."""
    centre = np.median(points, axis=0)
    far = np.abs(points - centre).sum(axis=1)
    precision = np.eye(points.shape[1])
    for _ in range(STEPS):
        near = points[far <= np.quantile(far, BULK)]
        if not np.ptp(near, axis=0).any():  # one point: the plain distance to it is all there is
            return near[0], np.eye(points.shape[1])
        fitted = LedoitWolf().fit(near)
        ridge = 1e-6 * np.trace(fitted.covariance_) / len(fitted.covariance_) * np.eye(len(fitted.covariance_))
        centre, precision = fitted.location_, np.linalg.inv(fitted.covariance_ + ridge)
        far = _distance(points, centre, precision)
    return centre, precision


def _distance(points: Floats, centre: Floats, precision: Floats) -> Floats:
    off = points - centre
    return np.asarray(np.sqrt(np.maximum(np.sum((off @ precision) * off, axis=1), 0)), np.float64)
