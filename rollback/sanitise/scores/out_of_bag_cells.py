"""Cells without which trees that have not seen the row agree with its label (2D-OOB)."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from rollback.sanitise.bagging import out_of_bag
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material
from rollback.sanitise.scores.score import Score

FEATURES: Final = 0.5
"""A tree is given this share of the features."""


class OutOfBagCells(Score):
    """A row's worst cell: mean probability of other labels by the trees that have not seen the row and use the cell.

    Source: Y. Sun et al., "2D-OOB: Attributing Data Contribution Through Joint Valuation Framework" (2024),
    https://arxiv.org/abs/2408.03572.
    """

    name: ClassVar[str] = "out_of_bag_cells"
    says: ClassVar[str] = "trees that use one of its cells contradict the label"

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        bag = out_of_bag(material, FEATURES, material.rng(self.name))
        unseen, used = bag.unseen.astype(np.float32), bag.used.astype(np.float32)
        votes = unseen.T @ used
        right = (unseen * bag.given).T @ used
        wrong = np.where(votes > 0, 1 - right / np.maximum(votes, 1), 0.0)
        rated = material.pooled(np.asarray(wrong.max(axis=1), np.float64))
        return Suspicion(rated.base, rated.new, wrong[len(material.base) :].argmax(axis=1))
