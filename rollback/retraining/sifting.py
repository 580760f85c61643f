"""Which new rows are trained on: what screens find in them, and what persons have said of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from detectors.batch import Strings
from rollback.retraining.answers import Answer, read_bound_answers
from rollback.retraining.data import Data
from rollback.retraining.decisions import Decided, Ruled, overrule, read_decisions, rule
from rollback.retraining.vetting import Answered, Settled, settle, withdraw
from rollback.sanitise.case import Hint
from rollback.sanitise.rows import Fit, Progress, Rows, Sanitised
from rollback.sanitise.sanitise import Settings
from rollback.signing.keys import Keys
from rollback.trust.reputation import Reputation
from rollback.trust.sealed import read_reputation
from rollback.trust.weights import weigh


class Sanitise(Protocol):
    """What `rollback.sanitise.sanitise.sanitise` does."""

    def __call__(
        self, base: Rows, new: Rows, fit: Fit, *, seed: int, hint: Hint | None, progress: Progress, settings: Settings
    ) -> Sanitised:
        """Say which of the new rows are not to be trained on."""


@dataclass(frozen=True, slots=True)
class Word:
    """What persons have said: a labeller's ``answers``, ``decisions`` about rows, and what suppliers are known for."""

    answers: Sequence[Answer]
    decisions: Sequence[Decided]
    reputation: Reputation | None

    @classmethod
    def read(cls, answers: Path | None, decisions: Path | None, reputation: Path | None, keys: Keys | None) -> Word:
        """From their files, where there are any.

        Raises `rollback.retraining.answers.VettingFileError` and `rollback.trust.sealed.SealedFileError`.
        """
        return cls(
            [] if answers is None else read_bound_answers(answers),
            () if decisions is None else read_decisions(decisions, keys),
            None if reputation is None else read_reputation(reputation, keys),
        )


@dataclass(frozen=True, slots=True)
class Sifted:
    """``data`` without the patterns that honest rows carry; ``found`` as a person has ruled, and what is ``settled``.

    ``why`` [n] says of a new row that weighs less than 1 why it does.
    """

    data: Data
    found: Sanitised
    settled: Settled
    ruled: Ruled
    why: Strings


def screen(data: Data, fit: Fit, sanitise: Sanitise, *, seed: int, hint: Hint | None, progress: Progress) -> Sanitised:
    """What screens find in the new rows. Answered ones are screened with them, as they were before the answers."""
    screened = data.screened
    found = sanitise(
        data.screening_base,
        screened,
        fit,
        seed=seed,
        hint=hint,
        progress=progress,
        settings=Settings(benign=data.benign.name),
    )
    return found.take(np.arange(len(screened)) < len(data.new))


def sift(data: Data, found: Sanitised, word: Word, rng: np.random.Generator) -> Sifted:
    """What becomes of the findings by the word of persons: weights first, then answers, and decisions last."""
    ruled = rule(word.decisions, data.new_about)
    why = np.full(len(data.new), "weighed down by a screen", dtype="U64")
    if word.reputation is not None:
        found, why = weigh(found, data.base, data.new, data.new_about, word.reputation)
    answered = Answered(data.answered, data.given.y)
    decided = ruled.accepted | ruled.rejected
    settled = settle(found, data.new, answered, rng, benign=data.benign.name, decided=decided, vouched=data.vouched)
    found = withdraw(found, settled.withdrawn)
    found = overrule(found, ruled, data.new)  # last: what a person has accepted weighs what it weighs
    # a confirmed benign row may be a clean-label attack's: no pattern is forgotten for it
    honest = ruled.accepted | (settled.returned if data.vouched is None else settled.returned & ~data.vouched)
    data = replace(data, earlier=data.earlier.without(data.new.take(honest)))
    return Sifted(data, found, settled, ruled, why)
