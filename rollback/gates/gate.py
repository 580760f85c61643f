"""The release gate: may this candidate serve? A pure decision over answers to trusted rows, with stated error rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors.batch import Scorer
from rollback.canary.canaries import Canaries
from rollback.gates.check import Check, at_most
from rollback.gates.holdout import Right, accuracy_loss, negative_flips, recall_losses
from rollback.gates.pattern import Pattern, noise, random_patterns, recovered, swaps
from rollback.sanitise.rows import Rows

__all__ = ["Check", "GateError", "GateSettings", "Pattern", "Trial", "judge"]


class GateError(Exception):
    """There is too little to judge a candidate by; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """``error_rate``: how often each check fails a clean candidate. ``tolerance``: how far a score may be off.

    ``pattern_error_rate`` is that of all patterns together: higher, because clean models differ by so much where no
    training data lies that a lower one would let most poisoned candidates pass.
    """

    error_rate: float = 0.01
    pattern_error_rate: float = 0.05
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        for rate in (self.error_rate, self.pattern_error_rate):
            if not 0 < rate < 0.5:  # noqa: PLR2004 - at one half a check would be a coin
                raise ValueError(f"an error rate must be above 0 and below 0.5, got {rate}")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance must be above 0, got {self.tolerance}")


@dataclass(frozen=True, slots=True)
class Trial:
    """What is judged, all in the terms of the holdout's schema.

    ``reseeds`` (two at least, better five) are models of the trusted base alone that differ in their seed, ``parts``
    models of other parts of it each. No model was trained on ``holdout``. ``patterns`` were found in removed rows or by
    an incident. ``answers`` are what the trained model itself said of some rows. ``probe`` is a model of the
    candidate's rows without counterexamples: one that was trained against the found patterns may obey them less than
    its other rows would have made it.
    """

    candidate: Scorer
    lkg: Scorer
    reseeds: Sequence[Scorer]
    holdout: Rows
    parts: Sequence[Scorer] = ()
    patterns: Sequence[Pattern] = ()
    answers: Canaries | None = None
    probe: Scorer | None = None


def judge(trial: Trial, *, seed: int, settings: GateSettings | None = None) -> tuple[Check, ...]:
    """Every check, in a fixed order; the candidate passes when all of them do. The same arguments, the same answer.

    Raises `GateError`.
    """
    s = settings or GateSettings()
    _require_enough(trial)
    right = _right(trial)
    checks = [
        accuracy_loss("accuracy_loss", right, s.error_rate),
        negative_flips(right, s.error_rate),
        *recall_losses(right, trial.holdout.y, trial.holdout.schema.classes, s.error_rate),
    ]
    if trial.answers is not None:
        off = np.abs(trial.candidate(trial.answers.x) - trial.answers.scores)
        checks.append(at_most("served_scores", float(off.max(initial=0.0)), s.tolerance, None))
    return (*checks, *_obeys(trial, seed, s))


def _require_enough(trial: Trial) -> None:
    if not len(trial.holdout):
        raise GateError("the trusted holdout has no row: give one with --holdout, or trusted rows with --trusted")
    if len(trial.reseeds) < 2:  # noqa: PLR2004 - one has no spread
        raise GateError(f"{len(trial.reseeds)} reseeds of the trusted base; noise needs two at least")


def _right(trial: Trial) -> Right:
    x, y = trial.holdout.x, trial.holdout.y
    reseeds = np.array([scorer(x).argmax(axis=1) == y for scorer in trial.reseeds])
    return Right(trial.candidate(x).argmax(axis=1) == y, trial.lkg(x).argmax(axis=1) == y, reseeds)


def _obeys(trial: Trial, seed: int, settings: GateSettings) -> list[Check]:
    """The checks of the patterns that have rows to be stamped on."""
    rng = np.random.default_rng([seed, 7])
    rows = rng.permutation(len(trial.holdout))
    x, y = trial.holdout.x[rows], trial.holdout.y[rows]
    patterns = [p for p in trial.patterns if np.any(y != p.target)]
    if not patterns:
        return []
    base = [*trial.reseeds, *trial.parts]
    null = noise(random_patterns(patterns, x, y, rng), x, y, base)
    models = {"recovered_pattern": trial.candidate, "retained_rows": trial.probe}
    return [
        check
        for name, model in models.items()
        if model is not None
        for check in recovered(name, patterns, swaps(patterns, x, y, model, base), null, settings.pattern_error_rate)
    ]
