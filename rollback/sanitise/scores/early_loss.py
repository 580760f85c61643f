"""Rows whose labels a network is slow to learn."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material
from rollback.sanitise.scores.score import Score


class EarlyLoss(Score):
    """Mean loss of the given label over the first epochs of a tiny network on base and new rows together.

    Wrong labels are learned late. Source: E. Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction"
    (2019), https://arxiv.org/abs/1904.11238.
    """

    name: ClassVar[str] = "early_loss"
    says: ClassVar[str] = "its label is learned late"

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        return material.pooled(np.mean([c.loss for c in material.early.checkpoints], axis=0))
