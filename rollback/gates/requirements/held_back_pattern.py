"""Patterns that the candidate was not trained against: one that obeys them has learned what its rows taught."""

from __future__ import annotations

from collections.abc import Sequence

from rollback.gates.check import Finding, Skipped
from rollback.gates.obeyed import obeyed
from rollback.gates.requirement import Case, Requirement
from rollback.gates.trial import Trial


class HeldBackPattern(Requirement):
    """Every pattern that was kept out of the counterexamples."""

    name = "held_back_pattern"
    share = 4.0

    def missing(self, trial: Trial) -> Skipped | None:
        """There may be none."""
        if trial.held_back:
            return None
        return Skipped(
            self.name, "no pattern was kept out of the counterexamples", "a buffer in which several slices are found"
        )

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check a pattern."""
        return obeyed(self.name, case.trial.held_back, case.trial.candidate, case)
