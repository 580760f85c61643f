"""The release gate: may this candidate serve? A pure decision over answers to trusted rows, with stated error rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from rollback.gates.answers import Answers
from rollback.gates.check import Check, Figure, Finding, Skipped, at_most
from rollback.gates.pattern import Pattern
from rollback.gates.requirement import Case, Requirement, requirement_classes
from rollback.gates.trial import GateError, GateSettings, Trial

__all__ = ["Check", "GateError", "GateSettings", "Judgement", "Pattern", "Trial", "judge"]

FIRST: Final = ("accuracy_loss", "negative_flips", "recall_loss")
"""The order in which a person reads them; the others follow by name."""

SLACK: Final = 1e-3
"""Scores are rounded: a little above 1 is still a probability."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that the gate says. ``error_budget`` is how often all ``checks`` together fail a clean candidate."""

    checks: tuple[Check, ...]
    figures: tuple[Figure, ...]
    skipped: tuple[Skipped, ...]
    error_budget: float

    @property
    def result(self) -> Literal["passed", "rejected", "vetting"]:
        """A failed check rejects, or holds the candidate until a person has decided (``vetting``)."""
        failed = {check.failing for check in self.checks if not check.passed}
        if "rejects" in failed:
            return "rejected"
        return "vetting" if failed else "passed"


def judge(trial: Trial, *, seed: int, settings: GateSettings | None = None) -> Judgement:
    """Every requirement, in a fixed order. The same arguments, the same answer; the order of the holdout is no matter.

    Raises `GateError`.
    """
    s = settings or GateSettings()
    _require_enough(trial)
    trial = _canonical(trial)
    held = Answers.of(trial, trial.holdout.x)
    sane = _scores_are_probabilities(held)
    requirements = [cls() for cls in _ordered(requirement_classes())]
    if not sane.passed:
        why = "the candidate's scores are no probabilities"
        return Judgement((sane,), (), tuple(Skipped(r.name, why, "a candidate that scores") for r in requirements), 0.0)
    lacking = {r.name: r.missing(trial) for r in requirements}
    running = [r for r in requirements if lacking[r.name] is None]
    findings: list[Finding] = [sane, *(why for why in lacking.values() if why is not None)]
    total = sum(r.share for r in running) or 1.0
    for requirement in running:
        rate = s.error_budget * requirement.share / total
        findings += requirement.judge(Case(trial, held, rate, seed, s))
    return _sorted(findings, s.error_budget)


def _sorted(findings: Sequence[Finding], budget: float) -> Judgement:
    return Judgement(
        tuple(f for f in findings if isinstance(f, Check)),
        tuple(f for f in findings if isinstance(f, Figure)),
        tuple(f for f in findings if isinstance(f, Skipped)),
        budget,
    )


def _ordered(classes: dict[str, type[Requirement]]) -> list[type[Requirement]]:
    return [classes[name] for name in sorted(classes, key=lambda n: (n not in FIRST, n))]


def _require_enough(trial: Trial) -> None:
    if not len(trial.holdout):
        raise GateError("the trusted holdout has no row: give one with --holdout, or trusted rows with --trusted")
    if len(np.unique(trial.holdout.y)) < 2:  # noqa: PLR2004 - a classifier tells two classes apart
        only = trial.holdout.schema.classes[int(trial.holdout.y[0])]
        raise GateError(
            f"all {len(trial.holdout)} rows of the trusted holdout are {only}: a candidate that says so of everything "
            "would look perfect; give rows of at least two classes with --holdout"
        )
    if len(trial.reseeds) < 2:  # noqa: PLR2004 - one has no spread
        raise GateError(f"{len(trial.reseeds)} reseeds of the trusted base; noise needs two at least")
    width = np.asarray(trial.candidate(trial.holdout.x[:1])).shape[-1]
    if width != len(trial.holdout.schema.classes):
        raise GateError(
            f"the candidate gives {width} scores a row, there are {len(trial.holdout.schema.classes)} classes: "
            f"{', '.join(trial.holdout.schema.classes)}"
        )


def _canonical(trial: Trial) -> Trial:
    """The holdout in an order that depends on what its rows hold and not on where they stand."""
    rows = trial.holdout
    order = np.lexsort((*rows.x.T, rows.y, rows.session, rows.source))
    return replace(trial, holdout=rows.take(order))


def _scores_are_probabilities(held: Answers) -> Check:
    """Nothing is left to chance: every score is a number from 0 to 1."""
    inside = np.all((held.candidate >= -SLACK) & (held.candidate <= 1 + SLACK), axis=1)  # False where it is no number
    why = "the share of holdout rows with a score that is no number from 0 to 1"
    return at_most("sane_scores", float(np.mean(~inside)), 0.0, None, why)
