"""Negative flips by slice: harm that is small on the whole holdout may be all that a group of rows has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.batch import Floats
from rollback.gates.check import Finding, at_most
from rollback.gates.noise import maximum_limit
from rollback.gates.requirement import Case, Requirement
from rollback.gates.slices import groups

SHARE: Final = 0.03
"""Rows that are alike flip together: of a group, this share more or less is what one model differs from another by."""


class SliceFlips(Requirement):
    """The worst of all groups of rows."""

    name = "slice_flips"
    share = 1.0
    of_learning = True

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check over all groups.

        Statistic: the largest of the standardised counts of negative flips over all groups. Null: the same maximum of
        each model of the base against the others (leave one out), so that the rate is for all groups together. Failing
        holds: what honest new rows change in one group, models of the base do not know.
        """
        right = case.held.right(case.trial.holdout.y)
        found = groups(case.trial.holdout)
        member = found.member.astype(np.float64)
        nulls = (right.lkg & ~right.nulls).astype(np.float64) @ member.T
        own = (right.lkg & ~right.candidate).astype(np.float64) @ member.T
        sizes = member.sum(axis=1)
        z = standardised(own, nulls, sizes)
        maxima = [standardised(row, np.delete(nulls, i, axis=0), sizes).max() for i, row in enumerate(nulls)]
        worst = int(z.argmax())
        why = (
            f"negative flips in the worst of {len(found.names)} groups of rows, in standard deviations of what models "
            f"of the trusted base have there: {found.names[worst]}, {own[worst]:.0f} of {sizes[worst]:.0f} rows, "
            f"expected {nulls[:, worst].mean():.1f}"
        )
        limit = maximum_limit(np.array(maxima), case.error_rate)
        return [at_most(self.name, float(z[worst]), limit, case.error_rate, why, "holds")]


def standardised(counts: Floats, nulls: Floats, sizes: Floats) -> Floats:
    """How many standard deviations the counts [G] lie above those of K models, ``nulls`` [K, G], in G groups.

    The variance of a group of n rows is that among the models, plus that of a Poisson count with the mean (m + 1/2),
    plus (`SHARE` n) squared: few models that agree say little about how far another one goes.
    """
    mean = nulls.mean(axis=0)
    variance = nulls.var(axis=0, ddof=1) + mean + 0.5 + (SHARE * sizes) ** 2
    return np.asarray((counts - mean) / np.sqrt(variance), np.float64)
