"""Rows of the candidate's own training buffer that screens take for poison: nobody has removed them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rollback.gates.check import Check, Figure, Finding, Skipped, at_most
from rollback.gates.obeyed import obeyed
from rollback.gates.requirement import Case, Requirement
from rollback.gates.trial import Suspect, Trial
from rollback.sanitise.slice_judge import CLEAR_SWAP


class BufferSuspects(Requirement):
    """A suspect that answers do not settle holds the candidate: screens cannot tell a new family from poison."""

    name = "buffer_suspects"
    share = 0.0

    def missing(self, trial: Trial) -> Skipped | None:
        """The buffer may not have been looked into."""
        if trial.suspects is not None:
            return None
        if trial.buffer is None:
            return Skipped(self.name, "there is no buffer of new rows", "--buffer")
        return Skipped(self.name, "no screen has looked into the buffer", "a trusted base: see tocsin retrain")

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check a suspect, and how far the candidate obeys it.

        The screen that found it states the chance of doing so on clean rows; nothing is added to that here. One whose
        values move trusted rows of other classes by `CLEAR_SWAP` or more is poison, as the sanitiser has it: rejected
        until answers confirm its labels. One of benign rows holds though they do: the rows of a clean-label attack have
        the right label, and so have those of a new benign family. Which of them it is only a person can tell, as in
        `rollback.retraining.vetting.settle`, which returns no such rows by answers.
        """
        suspects = case.trial.suspects or ()
        if not suspects:
            return [at_most(self.name, 0.0, 0.0, None, "groups of rows of the buffer that screens take for poison")]
        patterns = [s.pattern for s in suspects if s.pattern is not None]
        obeys = {c.name: c for c in obeyed(self.name, patterns, case.trial.candidate, case)}
        shown = [Figure(f"{c.name}.obeyed", c.value, c.why) for c in obeys.values()]
        y = case.trial.holdout.y
        benign = int(np.bincount(y).argmax()) if case.trial.benign is None else case.trial.benign
        return [*(_check(s, obeys.get(f"{self.name}.{s.name}"), benign) for s in suspects), *shown]


def _check(suspect: Suspect, obeys: Check | None, benign: int) -> Check:
    """The share of false labels among the answers; without enough of them the candidate is held."""
    name = f"buffer_suspects.{suspect.name}"
    right = not suspect.open and 2 * suspect.false <= suspect.answered
    if right and suspect.label == benign:
        moved = "" if obeys is None else f" (they move {obeys.value:.0%} of trusted rows of other classes)"
        why = (
            f"{suspect.answered} answers confirm the labels of {suspect.rows} rows ({suspect.what}), and still these "
            f"may be a backdoor{moved}: the rows of a clean-label attack have the right label. A person has to decide: "
            "who takes them for a new benign family promotes the candidate"
        )
        return at_most(name, 1.0, 0.0, None, why, "holds")
    if not suspect.open:
        why = f"the share of false labels among {suspect.answered} answers about {suspect.rows} rows ({suspect.what})"
        return at_most(name, suspect.false / suspect.answered, 0.5, None, why)
    if obeys is not None and not obeys.passed and obeys.value >= CLEAR_SWAP:
        why = f"the candidate was trained on {suspect.rows} rows ({suspect.what}) and obeys their values: {obeys.why}"
        return at_most(name, obeys.value, obeys.limit, None, why)
    why = (
        f"{suspect.rows} rows of the buffer ({suspect.what}) look like poison or a new family; {suspect.answered} "
        "answers do not tell which: label the rows that are asked for"
    )
    return at_most(name, 1.0, 0.0, None, why, "holds")
