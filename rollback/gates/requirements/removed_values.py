"""Values that stand out in rows which screens have removed one by one: no candidate may answer to their union."""

from __future__ import annotations

from collections.abc import Sequence

from rollback.gates.check import Finding, Skipped
from rollback.gates.obeyed import obeyed
from rollback.gates.requirement import Case, Requirement
from rollback.gates.trial import Trial


class RemovedValues(Requirement):
    """No slice holds the rows of a split trigger: each carries a part. Together they name all of it."""

    name = "removed_values"
    share = 4.0

    def missing(self, trial: Trial) -> Skipped | None:
        """There may be none."""
        if trial.removed_values:
            return None
        return Skipped(self.name, "no values stand out in rows that screens have removed", "--buffer")

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check a union of values; null and limit as in `rollback.gates.pattern.recovered`.

        Failing holds, however far it goes: honest rows are removed, too, and a candidate that has rightly learned of
        such rows what the base did not know answers to their values.
        """
        return obeyed(self.name, case.trial.removed_values, case.trial.candidate, case, "holds")
