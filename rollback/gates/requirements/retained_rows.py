"""Whether the rows that were kept still teach a pattern, though the candidate was trained against it."""

from __future__ import annotations

from collections.abc import Sequence

from rollback.gates.check import Finding, Skipped
from rollback.gates.obeyed import obeyed
from rollback.gates.requirement import Case, Requirement
from rollback.gates.trial import Trial


class RetainedRows(Requirement):
    """A model of the same rows without counterexamples is tried in the candidate's place."""

    name = "retained_rows"
    share = 4.0

    def missing(self, trial: Trial) -> Skipped | None:
        """Only where there were counterexamples is there another model."""
        if trial.probe is not None and trial.patterns:
            return None
        return Skipped(self.name, "the candidate was not trained against a pattern", "nothing: there is none to try")

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check a pattern."""
        probe = case.trial.probe
        assert probe is not None  # noqa: S101 - nothing is missing
        return obeyed(self.name, case.trial.patterns, probe, case)
