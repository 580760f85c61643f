"""Checks on trusted rows that nobody was trained on: the candidate's answers against those of last known good (LKG).

``right`` arrays are bool[n] (LKG, candidate) and bool[K, n] (reseeds: models of the trusted base that differ in their
seed alone): whether a model decides a row as its label says. What reseeds differ by among themselves is noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from detectors.batch import Bools, Ints
from rollback.gates.check import Check, at_most, prediction_limit


@dataclass(frozen=True, slots=True)
class Right:
    """Who decides the n holdout rows rightly: bool[n], bool[n] and bool[K, n]."""

    candidate: Bools
    lkg: Bools
    reseeds: Bools

    def among(self, rows: Bools) -> Right:
        """The same for some of the rows."""
        return Right(self.candidate[rows], self.lkg[rows], self.reseeds[:, rows])


def accuracy_loss(name: str, right: Right, error_rate: float) -> Check:
    """How much less accurate the candidate is than LKG.

    Null: candidate and LKG are two draws of one training procedure, of accuracies N(mu, s^2) on these rows. With s
    estimated from K reseeds, (loss) / (s sqrt 2) is t-distributed with K - 1 degrees of freedom, which gives the limit.
    It is at least z sqrt(b + c) / n with b, c the rows on which exactly one of both is right (McNemar's paired test, Q.
    McNemar 1947), because a holdout of n rows shows no smaller difference.
    """
    n = len(right.lkg)
    loss = float(np.mean(right.lkg)) - float(np.mean(right.candidate))
    accuracies = right.reseeds.mean(axis=1)
    degrees = len(accuracies) - 1
    by_seed = float(stdtrit(degrees, 1 - error_rate)) * float(np.std(accuracies, ddof=1)) * np.sqrt(2)
    differ = int(np.count_nonzero(right.lkg != right.candidate))
    by_rows = float(ndtri(1 - error_rate)) * np.sqrt(differ) / n
    return at_most(name, loss, max(by_seed, by_rows), error_rate)


def recall_losses(right: Right, y: Ints, classes: tuple[str, ...], error_rate: float) -> list[Check]:
    """`accuracy_loss` for the rows of every class that occurs; ``error_rate`` is shared by all of them."""
    present = [i for i in range(len(classes)) if np.any(y == i)]
    each = error_rate / max(len(present), 1)
    return [accuracy_loss(f"recall_loss.{classes[i]}", right.among(y == i), each) for i in present]


def negative_flips(right: Right, error_rate: float) -> Check:
    """The share of rows that LKG has right and the candidate wrong; the limit is what reseeds have of them.

    Negative flip rate: S. Yan et al., "Positive-Congruent Training", CVPR 2021, https://arxiv.org/abs/2011.09161.
    """
    reseeds = np.mean(right.lkg & ~right.reseeds, axis=1)
    value = float(np.mean(right.lkg & ~right.candidate))
    return at_most("negative_flips", value, prediction_limit(reseeds, error_rate), error_rate)
