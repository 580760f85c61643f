"""Rows that the last known good version (LKG) has right and the candidate wrong: no more than between reseeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rollback.gates.answers import Right
from rollback.gates.check import Check, Finding, at_most
from rollback.gates.noise import prediction_limit, row_noise
from rollback.gates.requirement import Case, Requirement


class NegativeFlips(Requirement):
    """The whole holdout at once."""

    name = "negative_flips"
    share = 1.0
    of_learning = True

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check."""
        return [negative_flips(case.held.right(case.trial.holdout.y), case.error_rate)]


def negative_flips(right: Right, error_rate: float) -> Check:
    """The share of rows that LKG has right and the candidate wrong; the limit is what models of the base have of them.

    Null: the candidate is one more draw of what reseeds and parts are draws of. Negative flip rate: S. Yan et al.,
    "Positive-Congruent Training", CVPR 2021, https://arxiv.org/abs/2011.09161.
    """
    flips = right.lkg & ~right.nulls
    value = float(np.mean(right.lkg & ~right.candidate))
    limit = prediction_limit(flips.mean(axis=1), error_rate, row_noise(flips.astype(np.float64)))
    why = (
        "the share of holdout rows that last known good has right and the candidate wrong; the limit is what models of "
        "the trusted base have of them"
    )
    return at_most("negative_flips", value, limit, error_rate, why)
