"""A value of a categorical feature has a new name that no vocabulary holds."""

from __future__ import annotations

import numpy as np

from detectors.batch import Floats
from separation.episode import Episode
from separation.faults import Change, Hit, changed_episode, kind_of, named_values, unseen
from separation.world import Setting, World

STRENGTHS = ({}, {"sources": 3}, {"sources": 12})
_SHARE = (0.2, 0.9)


def build(setting: Setting, *, sources: int = 1) -> Episode:
    """The value held a fifth or more."""
    return changed_episode(setting, 44, Hit(sources), _suits, _renaming, ("fault",))


def _common(world: World, past: Floats, j: int) -> list[int]:
    codes, shares = named_values(world, past, j)
    return codes[(shares >= _SHARE[0]) & (shares <= _SHARE[1])].tolist()


def _suits(world: World, past: Floats, j: int) -> bool:
    return kind_of(world, j) == "categorical" and bool(_common(world, past, j))


def _renaming(world: World, past: Floats, j: int) -> Change:
    return lambda x, rng: unseen(x, x == rng.choice(np.array(_common(world, past, j))))
