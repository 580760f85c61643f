"""What a rejected candidate has not learned because nobody has decided about it: `rejected` alone does not say so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from rollback.gates.check import Check
from rollback.gates.gate import Judgement
from rollback.gates.requirement import requirement_classes
from rollback.retraining.evidence import Change
from rollback.retraining.vetting import Settled, members
from rollback.sanitise.rows import Rows, Sanitised

WHOLE: Final = "accuracy_loss"
"""The check that says in shares of the holdout how far beyond its limit a candidate is."""


def missing_rows(
    said: Judgement, found: Sanitised, settled: Settled, new: Rows, changes: Sequence[Change]
) -> Iterator[str]:
    """A remark where rows of open slices were taken out of a candidate that is rejected.

    ``changes`` are those that were measured: what a training with a slice does to the holdout. Only where one of them
    makes up for what is lacking, and nothing speaks against the candidate that more rows do not answer, may it have
    failed for want of rows. The result stays what it is.
    """
    held = [members(question.slice, found, new) & found.removed for question in settled.open]
    rows = int(np.count_nonzero(np.any(held, axis=0))) if held else 0
    if said.result != "rejected" or not rows:
        return
    against = [check for check in said.checks if not check.passed and check.failing == "rejects"]
    gain = max((change.right_with - change.right_without for change in changes), default=0.0)
    then = "decide about them (tocsin review list) and retrain"
    yield f"{rows} rows of held slices are out: {then}; {_why(against, gain)}"


def _why(against: Sequence[Check], gain: float) -> str:
    names = ", ".join(check.name for check in against)
    other = [check.name for check in against if not _of_learning(check.name)]
    short = max((check.value - check.limit for check in against if check.name == WHOLE), default=0.0)
    measured = f"a training with one of these slices changes what is right of the holdout by {100 * gain:+.2f} points"
    if other or gain <= 0 or gain < short:
        return f"that they are out does not explain {', '.join(other) or names} ({measured})"
    return f"{names} may have failed for want of them ({measured})"


def _of_learning(check: str) -> bool:
    requirement = requirement_classes().get(check.partition(".")[0])
    return requirement is not None and requirement.of_learning
