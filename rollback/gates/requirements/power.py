"""What the holdout is too small to show: a gate that could not have seen a loss must say so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rollback.gates.check import Figure, Finding
from rollback.gates.noise import Losses, excess, row_noise
from rollback.gates.requirement import Case, Requirement


class Power(Requirement):
    """Figures only."""

    name = "power"
    share = 0.0

    def judge(self, case: Case) -> Sequence[Finding]:
        """For each class, the loss of recall that is seen with probability 1/2: that which lies on the limit.

        In truth the probability is higher where other checks see it too.
        """
        y, classes = case.trial.holdout.y, case.trial.holdout.schema.classes
        wrong = ~case.held.right(y).nulls
        found = []
        for label in np.unique(y).tolist():
            own = wrong[:, y == label].astype(np.float64)
            losses = Losses(0.0, float(own.mean()), own.mean(axis=1), np.zeros(0), row_noise(own))
            _, limit = excess(losses, case.settings.error_budget / 10)
            why = (
                f"a loss of recall on {classes[label]} below this would hardly show on the {own.shape[1]} rows of it "
                "in the holdout; give more with --holdout to see smaller ones"
            )
            found.append(Figure(f"power.recall_loss.{classes[label]}", limit, why))
        return found
