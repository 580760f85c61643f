"""Rows that lie far from all trusted rows of their label."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from sklearn.neighbors import NearestNeighbors

from detectors.batch import Floats, Ints
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material, Rate
from rollback.sanitise.scores.score import Score

NEIGHBOURS: Final = 5


class EmbeddingKnn(Score):
    """Mean distance to the 5 nearest base rows of the same label (of other folds) in the embedding of `Material`.

    Finds what is new, honest or not. Source: Y. Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors"
    (2022), https://arxiv.org/abs/2204.06507.
    """

    name: ClassVar[str] = "embedding_knn"
    says: ClassVar[str] = "far from all trusted rows of its label"
    judges_label: ClassVar[bool] = False

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        where, y = material.embedded, material.y

        def fit(known: Ints) -> Rate:
            def rate(rows: Ints) -> Floats:
                far = np.zeros(len(rows))
                for label in np.unique(y[rows]).tolist():
                    own, same = y[rows] == label, known[y[known] == label]
                    if len(same):
                        near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(same))).fit(where[same])
                        far[own] = near.kneighbors(where[rows[own]])[0].mean(axis=1)
                return far

            return rate

        return material.crossed(fit)
