"""Canaries of the last known good version (LKG) that the candidate decides otherwise: no more than reseeds do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rollback.gates.answers import Answers, decided
from rollback.gates.check import Finding, Skipped, at_most
from rollback.gates.noise import prediction_limit, row_noise
from rollback.gates.requirement import Case, Requirement
from rollback.gates.trial import Trial


class CanaryFlips(Requirement):
    """Canaries are rows on which versions differ: what changes a model shows there first."""

    name = "canaries"
    share = 0.5

    def missing(self, trial: Trial) -> Skipped | None:
        """LKG's bundle may have none."""
        if trial.canaries is not None and len(trial.canaries):
            return None
        return Skipped(self.name, "the last known good version has no canaries", "a version that was added with some")

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check. Null: the candidate flips canaries like one more model of the trusted base."""
        canaries = case.trial.canaries
        assert canaries is not None  # noqa: S101 - nothing is missing
        answers = Answers.of(case.trial, canaries.x)
        expected = decided(canaries.scores)
        flips = decided(answers.nulls) != expected
        value = float(np.mean(decided(answers.candidate) != expected))
        limit = prediction_limit(flips.mean(axis=1), case.error_rate, row_noise(flips.astype(np.float64)))
        why = (
            f"the share of the {len(canaries)} canaries of last known good that the candidate decides otherwise; the "
            "limit is what models of the trusted base do"
        )
        return [at_most("canaries.flipped", value, limit, case.error_rate, why)]
