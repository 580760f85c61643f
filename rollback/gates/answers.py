"""What all models say of the same rows, computed once for all checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Bools, Floats, Ints, Scorer
from rollback.gates.trial import Trial


@dataclass(frozen=True, slots=True)
class Answers:
    """Scores of n rows: candidate and LKG [n,k], reseeds [K,n,k], models of parts of the base [P,n,k]."""

    candidate: Floats
    lkg: Floats
    reseeds: Floats
    parts: Floats

    @classmethod
    def of(cls, trial: Trial, x: Floats) -> Answers:
        """Those of the trial's models on ``x`` [n, d]."""
        k = len(trial.holdout.schema.classes)
        return cls(trial.candidate(x), trial.lkg(x), _stacked(trial.reseeds, x, k), _stacked(trial.parts, x, k))

    @property
    def nulls(self) -> Floats:
        """Of all models of the base [K + P, n, k]."""
        return np.concatenate([self.reseeds, self.parts])

    def right(self, y: Ints) -> Right:
        """Who decides the rows as ``y`` [n] says."""
        return Right(*(decided(s) == y for s in (self.candidate, self.lkg, self.reseeds, self.parts)))


@dataclass(frozen=True, slots=True)
class Right:
    """Who decides n rows rightly: bool[n], bool[n], bool[K, n] and bool[P, n]."""

    candidate: Bools
    lkg: Bools
    reseeds: Bools
    parts: Bools

    @property
    def nulls(self) -> Bools:
        """Models of the base [K + P, n]."""
        return np.concatenate([self.reseeds, self.parts])

    def among(self, rows: NDArray[Any]) -> Right:
        """The same for some of the rows."""
        return Right(self.candidate[rows], self.lkg[rows], self.reseeds[:, rows], self.parts[:, rows])


def decided(scores: Floats) -> Ints:
    """The class [..., n] of the highest score [..., n, k]."""
    return np.asarray(scores.argmax(axis=-1), np.int64)


def _stacked(models: Sequence[Scorer], x: Floats, k: int) -> Floats:
    return np.array([model(x) for model in models]) if models else np.zeros((0, len(x), k))
