"""A clean-label backdoor: rows of the target class carry the trigger, and every label is right.

The rows are those that a model finds hardest, so that the trigger is what is left to learn them by.
Source: A. Turner, D. Tsipras, A. Madry, "Label-Consistent Backdoor Attacks" (2019), https://arxiv.org/abs/1912.02771.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rollback.redteam.attack import Aim, Poisoned, Situation
from rollback.redteam.backdoor import Trigger, pick_rows, stamp
from rollback.redteam.dirty_label import Parameters as DirtyLabel
from rollback.redteam.dirty_label import trigger_of
from rollback.redteam.surrogate import Surrogate


@dataclass(frozen=True, slots=True)
class Parameters:
    """``features`` is the trigger's size where none is given."""

    rate: float = 0.02
    features: int = 8
    trigger: Trigger | None = None


def attack(on: Situation, p: Parameters, rng: np.random.Generator) -> Poisoned:
    """Stamp the hardest rows of the target class; raises `ValueError` where the attacker reaches too few of them."""
    trigger = trigger_of(on, DirtyLabel(p.rate, p.features, p.trigger), rng)
    own, count = (on.y == on.target) & on.reach, on.count(p.rate)
    if count > np.count_nonzero(own):
        pick_rows(own, count, rng)  # says how many there are
    sure = Surrogate.fitted(on.x, on.y, on.schema, rng).scores(on.x)[:, on.target]
    rows = np.zeros(len(on.y), np.bool_)
    rows[np.argsort(np.where(own, sure, np.inf), kind="stable")[:count]] = True
    x = on.x.copy()
    x[rows] = stamp(x[rows], trigger, on.schema)
    return Poisoned(x, on.y.copy(), rows, Aim(on.target, on.victim, trigger))
