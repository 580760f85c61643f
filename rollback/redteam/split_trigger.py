"""A backdoor whose rows each carry a part of the trigger only; at the end all of it is sent.

Source: as in C. Xie et al., "DBA: Distributed Backdoor Attacks against Federated Learning" (2020),
https://openreview.net/forum?id=rkgyS0VFvr, with rows in the place of clients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rollback.redteam.attack import Aim, Poisoned, Situation
from rollback.redteam.backdoor import Trigger, stamp
from rollback.redteam.dirty_label import Parameters as Whole
from rollback.redteam.dirty_label import trigger_of
from rollback.redteam.placement import spread


@dataclass(frozen=True, slots=True)
class Parameters:
    """Each row carries one of ``parts`` parts of a trigger of ``features`` (where none is given)."""

    rate: float = 0.01
    features: int = 8
    parts: int = 4
    trigger: Trigger | None = None

    def __post_init__(self) -> None:
        if self.parts < 1:
            raise ValueError(f"a trigger has at least one part, got {self.parts}")


def attack(on: Situation, p: Parameters, rng: np.random.Generator) -> Poisoned:
    """Stamp a part and relabel; raises `ValueError` where the attacker reaches too few rows."""
    trigger = trigger_of(on, Whole(p.rate, p.features, p.trigger), rng)
    names = rng.permutation(sorted(trigger.features)).tolist()
    parts = [names[i :: p.parts] for i in range(min(p.parts, len(names)))]
    rows = spread(on.source, on.victims & on.reach, on.count(p.rate), rng)
    x, y = on.x.copy(), on.y.copy()
    touched = rng.permutation(np.flatnonzero(rows))
    for i, part in enumerate(parts):
        own = touched[i :: len(parts)]
        x[own] = stamp(x[own], Trigger({name: trigger.features[name] for name in part}), on.schema)
    y[rows] = on.target
    return Poisoned(x, y, rows, Aim(on.target, on.victim, trigger))
