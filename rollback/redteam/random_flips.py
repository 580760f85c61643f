"""Wrong labels anywhere: rows of the victim class are called what the attacker wants, whatever they hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rollback.redteam.attack import Aim, Poisoned, Situation
from rollback.redteam.placement import spread


@dataclass(frozen=True, slots=True)
class Parameters:
    """``rate`` is the share of all rows that is relabelled."""

    rate: float = 0.1


def attack(on: Situation, p: Parameters, rng: np.random.Generator) -> Poisoned:
    """Relabel random victims, as many of the share as are in reach; raises `ValueError` where there are none."""
    among = on.victims & on.reach
    if not among.any():
        raise ValueError("no row of the victim class is in the attacker's reach")
    rows = spread(on.source, among, min(on.count(p.rate), int(among.sum())), rng)
    y = on.y.copy()
    y[rows] = on.target
    return Poisoned(on.x.copy(), y, rows, Aim(on.target, on.victim))
