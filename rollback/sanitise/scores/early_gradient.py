"""Rows that pull hard on a network in its first epochs."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material
from rollback.sanitise.scores.score import Score


class EarlyGradient(Score):
    """Norm of a row's gradient by all weights, its mean over the first epochs of a tiny network on all rows.

    Source: GraNd of M. Paul et al., "Deep Learning on a Data Diet" (2021), https://arxiv.org/abs/2107.07075.
    """

    name: ClassVar[str] = "early_gradient"
    says: ClassVar[str] = "it pulls hard on a model in its first epochs"

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        norms = [
            np.hypot(np.linalg.norm(c.error, axis=1) * np.sqrt(1 + np.sum(c.hidden**2, axis=1)), c.inner)
            for c in material.early.checkpoints
        ]
        return material.pooled(np.mean(norms, axis=0))
