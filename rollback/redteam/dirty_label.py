"""A dirty-label backdoor: rows of the victim class carry a trigger and the label that the attacker wants.

Source: T. Gu, B. Dolan-Gavitt, S. Garg, "BadNets" (2017), https://arxiv.org/abs/1708.06733.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rollback.redteam.attack import Aim, Poisoned, Situation
from rollback.redteam.backdoor import Trigger, choose_trigger, stamp
from rollback.redteam.placement import spread


@dataclass(frozen=True, slots=True)
class Parameters:
    """``features`` is the trigger's size where none is given."""

    rate: float = 0.01
    features: int = 3
    trigger: Trigger | None = None


def trigger_of(on: Situation, p: Parameters, rng: np.random.Generator) -> Trigger:
    """The trigger that is given, or a plausible one; raises `ValueError` where there is none."""
    if p.trigger is not None:
        return p.trigger
    return choose_trigger(on.x, on.y, on.schema, target=on.target, features=p.features, rng=rng)


def attack(on: Situation, p: Parameters, rng: np.random.Generator) -> Poisoned:
    """Stamp and relabel; raises `ValueError` where the attacker reaches too few rows."""
    trigger = trigger_of(on, p, rng)
    rows = spread(on.source, on.victims & on.reach, on.count(p.rate), rng)
    x, y = on.x.copy(), on.y.copy()
    x[rows] = stamp(x[rows], trigger, on.schema)
    y[rows] = on.target
    return Poisoned(x, y, rows, Aim(on.target, on.victim, trigger))
