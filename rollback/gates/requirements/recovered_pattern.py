"""Whether the candidate obeys a pattern that was found in removed rows, or that an incident names."""

from __future__ import annotations

from collections.abc import Sequence

from rollback.gates.check import Finding, Skipped
from rollback.gates.obeyed import obeyed
from rollback.gates.requirement import Case, Requirement
from rollback.gates.trial import Trial


class RecoveredPattern(Requirement):
    """Every pattern that was found."""

    name = "recovered_pattern"
    share = 8.0

    def missing(self, trial: Trial) -> Skipped | None:
        """There may be none."""
        if trial.patterns:
            return None
        return Skipped(self.name, "no pattern was found in removed rows or named by an incident", "--incident")

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check a pattern."""
        return obeyed(self.name, case.trial.patterns, case.trial.candidate, case)
