"""Rows that teach a model to ignore a found pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rollback.sanitise.case import Case
from rollback.sanitise.pattern import Pattern
from rollback.sanitise.rows import Rows
from rollback.sanitise.slice_judge import Found

SHARE = 0.02
"""Of the base's size, for each slice."""
PARTLY = 0.8
"""Half of the rows carry each cell of the pattern with this probability only."""


def divided(found: Sequence[Found], share: float) -> tuple[list[Found], list[Found]]:
    """The slices to be unlearned, and those that a gate is to test candidates by.

    The latter are this share, one at least of two or more, and the weakest by their swap: what the model answers to
    most is unlearned.
    """
    strongest = sorted(found, key=lambda f: (-f.swap, -f.slice.score, -f.slice.rows))
    held_back = max(int(share * len(found)), 1) if share > 0 and len(found) > 1 else 0
    return strongest[: len(found) - held_back], strongest[len(found) - held_back :]


def counterexamples(case: Case, found: Sequence[Pattern]) -> Rows | None:
    """Trusted rows of other classes with each pattern of a benign-labelled slice stamped on, labels as they are.

    None where there is nothing to unlearn. Only the benign class is protected: benign rows with the values of an attack
    would teach the model to overlook an honestly learned new attack.
    """
    return stamped(case.base, case.benign, found, SHARE, case.rng("counterexamples"))


def stamped(base: Rows, target: int, found: Sequence[Pattern], share: float, rng: np.random.Generator) -> Rows | None:
    """For each pattern ``share`` of the base's rows, of other classes than ``target``; see `counterexamples`."""
    others = np.flatnonzero(base.y != target)
    count = min(round(share * len(base)), len(others))
    parts = []
    for pattern in found if count else ():
        rows = base.take(np.sort(rng.choice(others, size=count, replace=False)))
        x = pattern.stamp(rows.x)
        x[::2] = pattern.stamp_some(rows.x[::2], PARTLY, rng)
        parts.append(replace(rows, x=x))
    return Rows.concat(parts) if parts else None
