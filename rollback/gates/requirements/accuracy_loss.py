"""Whether the candidate is less accurate on trusted rows than the last known good version (LKG), by more than noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rollback.gates.answers import Right
from rollback.gates.check import Check, Finding, at_most
from rollback.gates.noise import Losses, excess, row_noise
from rollback.gates.requirement import Case, Requirement


class AccuracyLoss(Requirement):
    """The whole holdout at once."""

    name = "accuracy_loss"
    share = 1.0
    of_learning = True

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check."""
        right = case.held.right(case.trial.holdout.y)
        return [accuracy_loss(self.name, right, case.error_rate, lkg_kin=case.trial.lkg_kin)]


def accuracy_loss(name: str, right: Right, error_rate: float, *, lkg_kin: bool = True, of: str = "all rows") -> Check:
    """How much less accurate the candidate is than LKG; null and limit as in `rollback.gates.noise.excess`."""
    wrong = ~right.reseeds
    losses = Losses(
        float(np.mean(~right.candidate)),
        float(np.mean(~right.lkg)),
        wrong.mean(axis=1),
        (~right.parts).mean(axis=1),
        row_noise(np.concatenate([wrong, ~right.lkg[None]]).astype(np.float64)),
    )
    value, limit = excess(losses, error_rate, lkg_kin=lkg_kin)
    why = (
        f"accuracy of last known good minus that of the candidate on {of} ({len(right.lkg)}); the limit is what models "
        "of the trusted base differ by"
    )
    return at_most(name, value, limit, error_rate, why)
