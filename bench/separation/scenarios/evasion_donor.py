"""Evasion: values of one row of the wanted class are copied, in random order, until both models are fooled."""

from __future__ import annotations

import numpy as np

from detectors.batch import Bools, Floats
from separation.crafted import BURSTS, Target, burst
from separation.episode import Episode
from separation.world import Setting

STRENGTHS = BURSTS


def build(setting: Setting, *, size: int, sources: int, direction: str = "hide", mean: float = 1.0) -> Episode:
    """See above."""
    return burst(setting, 61, copied, size=size, sources=sources, direction=direction, mean=mean)


def copied(aim: Target, x: Floats, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """Attacked rows, and which of them succeeded without becoming the donor."""
    donor = aim.donors[rng.integers(0, len(aim.donors), len(x))]
    order, done = np.argsort(rng.random(x.shape), axis=1), aim.fooled(x)
    for step in range(x.shape[1]):
        rows = np.flatnonzero(~done)
        if not len(rows):
            break
        x[rows, order[rows, step]] = donor[rows, order[rows, step]]
        done[rows] = aim.fooled(x[rows])
    return x, done & ((x != donor).sum(axis=1) >= 2)
