"""Wrong labels of one family: rows that are alike are all called what the attacker wants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.batch import Bools
from rollback.redteam.attack import Aim, Poisoned, Situation
from rollback.redteam.placement import spread


@dataclass(frozen=True, slots=True)
class Parameters:
    """``family`` is the one to be hidden; by default the largest that the attacker reaches."""

    rate: float = 0.05
    family: str | None = None


def attack(on: Situation, p: Parameters, rng: np.random.Generator) -> Poisoned:
    """Relabel rows of a family, as many of the share as it has; raises `ValueError` where it has none in reach."""
    among = on.victims & on.reach
    if not among.any():
        raise ValueError("no row of the victim class is in the attacker's reach")
    family = _largest(on, among) if p.family is None else p.family
    among = among & (on.family == family)
    rows = spread(on.source, among, min(on.count(p.rate), int(among.sum())), rng)
    if not rows.any():
        raise ValueError(f"family {family!r} has no row of the victim class in the attacker's reach")
    y = on.y.copy()
    y[rows] = on.target
    return Poisoned(on.x.copy(), y, rows, Aim(on.target, on.victim, family=family))


def _largest(on: Situation, among: Bools) -> str:
    names, counts = np.unique(on.family[among], return_counts=True)
    return str(names[counts.argmax()])
