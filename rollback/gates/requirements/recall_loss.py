"""Whether the candidate misses more of one class than the last known good version (LKG), by more than noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.batch import Ints
from rollback.gates.answers import Right
from rollback.gates.check import Check, Finding
from rollback.gates.requirement import Case, Requirement
from rollback.gates.requirements.accuracy_loss import accuracy_loss


class RecallLoss(Requirement):
    """Every class that the holdout has."""

    name = "recall_loss"
    share = 1.0
    of_learning = True

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check a class."""
        y, classes = case.trial.holdout.y, case.trial.holdout.schema.classes
        return recall_losses(case.held.right(y), y, classes, case.error_rate, lkg_kin=case.trial.lkg_kin)


def recall_losses(
    right: Right, y: Ints, classes: tuple[str, ...], error_rate: float, *, lkg_kin: bool = True
) -> list[Check]:
    """`accuracy_loss` for the rows of every class that occurs; ``error_rate`` is shared by all of them."""
    present = [i for i in range(len(classes)) if np.any(y == i)]
    each = error_rate / max(len(present), 1)
    return [
        accuracy_loss(
            f"recall_loss.{classes[i]}", right.among(y == i), each, lkg_kin=lkg_kin, of=f"rows of class {classes[i]}"
        )
        for i in present
    ]
