"""Rows whose trusted neighbours have other labels."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from sklearn.neighbors import NearestNeighbors

from detectors.batch import Floats, Ints
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material, Rate
from rollback.sanitise.scores.score import Score

NEIGHBOURS: Final = 10


class KnnLabel(Score):
    """Share of the 10 nearest base rows (of other folds) that have another label, nearer ones counting more.

    Weights are 1/(r + d): d the distance in the embedding of `Material`, r the mean of the ten. Source: D. Bahri et
    al., "Deep k-NN for Noisy Labels" (2020), https://arxiv.org/abs/2004.12289.
    """

    name: ClassVar[str] = "knn_label"
    says: ClassVar[str] = "trusted rows beside it have other labels"

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        where, y = material.embedded, material.y

        def fit(known: Ints) -> Rate:
            near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(known))).fit(where[known])

            def rate(rows: Ints) -> Floats:
                if not len(rows):
                    return np.zeros(0)
                distance, at = near.kneighbors(where[rows])
                weight = 1 / (1e-9 + distance.mean(axis=1, keepdims=True) + distance)
                other = y[known][at] != y[rows][:, None]
                return np.asarray((weight * other).sum(axis=1) / weight.sum(axis=1), np.float64)

            return rate

        return material.crossed(fit)
