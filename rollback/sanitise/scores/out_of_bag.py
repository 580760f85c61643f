"""Rows that trees which have not seen them call something else (Data-OOB)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from rollback.sanitise.bagging import out_of_bag
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material
from rollback.sanitise.scores.score import Score


class OutOfBag(Score):
    """Mean probability of other labels by those trees of a forest on all rows whose sessions leave the row out.

    Source: Y. Kwon and J. Zou, "Data-OOB: Out-of-bag Estimate as a Simple and Efficient Data Value" (2023),
    https://arxiv.org/abs/2304.07718; whole sessions are drawn here, for rows of one session repeat each other.
    """

    name: ClassVar[str] = "out_of_bag"
    says: ClassVar[str] = "trees that have not seen it contradict the label"

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        bag = out_of_bag(material, 1.0, material.rng(self.name))
        votes = bag.unseen.sum(axis=0)
        right = np.sum(bag.given * bag.unseen, axis=0)
        return material.pooled(np.asarray(1 - right / np.maximum(votes, 1), np.float64))
