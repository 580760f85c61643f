"""Evasion: the few features that matter most take values of rows of the wanted class, until both models are fooled."""

from __future__ import annotations

import numpy as np

from detectors.batch import Bools, Floats
from separation.crafted import BURSTS, Target, burst
from separation.episode import Episode
from separation.world import Setting

STRENGTHS = BURSTS

_TRIALS = 12
_STEPS = 6


def build(setting: Setting, *, size: int, sources: int, direction: str = "hide", mean: float = 1.0) -> Episode:
    """See above."""
    return burst(setting, 62, greedy, size=size, sources=sources, direction=direction, mean=mean)


def greedy(aim: Target, x: Floats, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """Attacked rows, and which of them succeeded."""
    done = np.zeros(len(x), np.bool_)
    for _ in range(_STEPS):
        rows = np.flatnonzero(~done)
        if not len(rows):
            break
        trial = np.repeat(x[rows], _TRIALS, axis=0)
        each, column = np.arange(len(trial)), rng.integers(0, x.shape[1], len(trial))
        trial[each, column] = aim.donors[rng.integers(0, len(aim.donors), len(trial)), column]
        best = aim.score(trial).reshape(-1, _TRIALS).argmax(axis=1)
        x[rows] = trial[np.arange(len(rows)) * _TRIALS + best]
        done[rows] = aim.fooled(x[rows])
    return x, done
