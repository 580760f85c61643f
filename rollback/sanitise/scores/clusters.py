"""Rows of clusters in which the trusted base has few rows of their label."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from sklearn.cluster import KMeans

from detectors.batch import Floats, Ints
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material, Rate
from rollback.sanitise.scores.score import Score

ROWS: Final = 100
"""About so many rows of the pool make a cluster."""
MOST: Final = 64
SAMPLE: Final = 10_000
"""The clusters are found by so many rows at most."""


class Clusters(Score):
    """-ln of the share of a cluster's trusted rows (of other folds) that have the row's label; k-means on base and new.

    Clusters without trusted rows count as half a row of another label. Ties go by the distance to the cluster's centre.
    Source: B. Chen et al., "Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering" (2018),
    https://arxiv.org/abs/1811.03728, with the trusted base in place of the size of the cluster.
    """

    name: ClassVar[str] = "clusters"
    says: ClassVar[str] = "few trusted rows of its cluster have its label"

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        rng = material.rng(self.name)
        where, y = material.embedded, material.y
        sample = rng.permutation(len(where))[:SAMPLE]
        distinct = len(np.unique(where[sample].round(9), axis=0))
        count = max(min(MOST, len(where) // ROWS, distinct), 1)
        means = KMeans(count, n_init=1, random_state=int(rng.integers(2**31))).fit(where[sample])
        cluster, distance = means.predict(where), means.transform(where).min(axis=1)

        def fit(known: Ints) -> Rate:
            held = np.zeros((count, material.classes))
            np.add.at(held, (cluster[known], y[known]), 1)
            share = (held + 0.5 * held.sum(axis=0) / len(known)) / (held.sum(axis=1, keepdims=True) + 1)

            def rate(rows: Ints) -> Floats:
                far = distance[rows] / (1 + distance[rows])
                return np.asarray(-np.log(np.maximum(share[cluster[rows], y[rows]], 1e-9)) + 1e-3 * far, np.float64)

            return rate

        return material.crossed(fit)
