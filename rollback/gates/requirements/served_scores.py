"""The exported model answers as the trained one did. Nothing of it is left to chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rollback.gates.check import Finding, Skipped, at_most
from rollback.gates.requirement import Case, Requirement
from rollback.gates.trial import Trial


class ServedScores(Requirement):
    """The largest difference."""

    name = "served_scores"
    share = 0.0

    def missing(self, trial: Trial) -> Skipped | None:
        """Only the training knows what the trained model said."""
        if trial.answers is not None:
            return None
        return Skipped(
            self.name, "what the trained model itself answered is not known", "a candidate made by tocsin retrain"
        )

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check."""
        answers = case.trial.answers
        assert answers is not None  # noqa: S101 - nothing is missing
        off = np.abs(case.trial.candidate(answers.x) - answers.scores)
        why = "the largest difference between a score of the exported model and of the trained one"
        return [at_most(self.name, float(off.max(initial=0.0)), case.settings.tolerance, None, why)]
