"""What a model learned from the new rows that models of the trusted base do not say: their loss minus its own."""

from __future__ import annotations

from typing import ClassVar

from rollback.sanitise.conformal import Suspicion, cross_entropy
from rollback.sanitise.material import Material
from rollback.sanitise.scores.score import Score


class LossDifference(Score):
    """Loss of the given label under models of the base, less that under a model of base and new rows together.

    High where only the new rows teach the label, as those with a trigger do; a row that is hard for all models is not.
    Source: the difference of losses of S. Mindermann et al., "Prioritized Training on Points that are Learnable, Worth
    Learning, and Not Yet Learnt" (2022), https://arxiv.org/abs/2206.07137, with its sign for trust turned round.
    """

    name: ClassVar[str] = "loss_difference"
    says: ClassVar[str] = "only the new rows teach its label"

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        base, new = material.base, material.new
        known = material.loss
        later = cross_entropy(material.current(new.x), new.y) if len(new) else known.new[0]
        return Suspicion(known.base - cross_entropy(material.current(base.x), base.y), known.new - later)
