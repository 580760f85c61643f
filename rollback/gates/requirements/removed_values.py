"""Values that stand out in rows which screens have removed one by one: no candidate may answer to their union."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rollback.gates.check import Check, Finding, Skipped
from rollback.gates.obeyed import obeyed
from rollback.gates.requirement import Case, Requirement
from rollback.gates.trial import Trial
from rollback.sanitise.slice_judge import CLEAR_SWAP


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

        Failing rejects where the values clearly (`CLEAR_SWAP`) move rows of other classes; else it holds, for a model
        that has learned a new family answers to its values as well.
        """
        return [_failing(check) for check in obeyed(self.name, case.trial.removed_values, case.trial.candidate, case)]


def _failing(check: Check) -> Check:
    return check if check.value >= CLEAR_SWAP else replace(check, failing="holds")
