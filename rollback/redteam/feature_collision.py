"""Feature collision: rows of the target class that look, to a model, like rows which the attacker will send.

Source: A. Shafahi et al., "Poison Frogs! Targeted Clean-Label Poisoning Attacks" (2018),
https://arxiv.org/abs/1804.00792, with cells taken over from the coming rows in the place of gradient steps, so that
every value is one that occurs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.batch import Floats
from rollback.redteam.attack import Aim, Poisoned, Situation
from rollback.redteam.placement import spread
from rollback.redteam.surrogate import Surrogate


@dataclass(frozen=True, slots=True)
class Parameters:
    """``cells`` is the share of a row's cells that may be taken over; ``goals`` coming rows are moved towards."""

    rate: float = 0.02
    cells: float = 0.5
    goals: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.cells <= 1 or self.goals < 1:
            raise ValueError(f"cells lies in (0, 1] and goals from 1 on, got {self.cells} and {self.goals}")


def attack(on: Situation, p: Parameters, rng: np.random.Generator) -> Poisoned:
    """Move rows of the target class towards coming rows; raises `ValueError` where there are none of either."""
    if not len(on.coming):
        raise ValueError("feature collision needs coming rows to move towards")
    model = Surrogate.fitted(on.x, on.y, on.schema, rng)
    goals = on.coming[rng.permutation(len(on.coming))[: p.goals]]
    rows = spread(on.source, (on.y == on.target) & on.reach, on.count(p.rate), rng)
    x = on.x.copy()
    for i, row in enumerate(np.flatnonzero(rows).tolist()):
        x[row] = _moved(model, x[row], goals[i % len(goals)], round(p.cells * x.shape[1]))
    return Poisoned(x, on.y.copy(), rows, Aim(on.target, on.victim, coming=goals))


def _moved(model: Surrogate, row: Floats, goal: Floats, cells: int) -> Floats:
    """Take over the cell that brings the hidden layer nearest to the goal's, as long as one does."""
    wanted = model.hidden(model.encoding(goal[None]))
    row = row.copy()
    nearest = float(np.sum((model.hidden(model.encoding(row[None])) - wanted) ** 2))
    for _ in range(cells):
        differ = np.flatnonzero(~((row == goal) | (np.isnan(row) & np.isnan(goal))))
        if not len(differ):
            break
        tried = np.repeat(row[None], len(differ), axis=0)
        tried[np.arange(len(differ)), differ] = goal[differ]
        distance = np.sum((model.hidden(model.encoding(tried)) - wanted) ** 2, axis=1)
        best = int(distance.argmin())
        if distance[best] >= nearest:
            break
        row, nearest = tried[best], float(distance[best])
    return row
