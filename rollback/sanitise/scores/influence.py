"""Rows that pull a network away from where the trusted rows pull it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from detectors.batch import Floats, Ints
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material, Rate
from rollback.sanitise.scores.score import Score


class Influence(Score):
    """Minus TracIn of a row on the trusted rows of other folds, by the last layer's weights.

    TracIn = sum over checkpoints of <g_i, g_j>, its mean over the trusted rows j (weighted so that all classes count
    alike); g = (probabilities - one-hot label) x (hidden units, 1) of a tiny network in its first epochs.
    Source: G. Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent" (2020),
    https://arxiv.org/abs/2002.08484.
    """

    name: ClassVar[str] = "influence"
    says: ClassVar[str] = "it pulls a model away from the trusted rows"

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        gradients = [(c.error, np.column_stack([c.hidden, np.ones(len(c.hidden))])) for c in material.early.checkpoints]

        def fit(known: Ints) -> Rate:
            weight = 1 / np.bincount(material.y[known], minlength=material.classes)[material.y[known]]
            pull = [(hidden[known] * weight[:, None]).T @ error[known] for error, hidden in gradients]

            def rate(rows: Ints) -> Floats:
                influence = [
                    np.sum((hidden[rows] @ p) * error[rows], axis=1)
                    for (error, hidden), p in zip(gradients, pull, strict=True)
                ]
                return -np.asarray(np.sum(influence, axis=0), np.float64)

            return rate

        return material.crossed(fit)
