"""Loss of the given label under the last known good: rows that models of the trusted base contradict."""

from __future__ import annotations

from typing import ClassVar

from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material
from rollback.sanitise.scores.score import Score


class LkgLoss(Score):
    """-ln of the probability that models of the base give to the label; base rows by the model that has not seen them.

    Finds wrong labels, and triggers on rows of another class. Source: the rank of an out-of-sample loss as in
    C. Northcutt et al., "Confident Learning" (2021), https://arxiv.org/abs/1911.00068.
    """

    name: ClassVar[str] = "lkg_loss"
    says: ClassVar[str] = "models of the trusted base contradict the label"

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        return material.loss
