"""A feature with two values has them swapped."""

from __future__ import annotations

import numpy as np

from detectors.batch import Floats
from separation.episode import Episode
from separation.faults import Hit, changed_episode, kind_of
from separation.world import Setting, World

STRENGTHS = ({}, {"sources": 12})


def build(setting: Setting, *, sources: int = 1) -> Episode:
    """See above."""
    return changed_episode(setting, 45, Hit(sources), _suits, lambda *_: lambda x, _rng: _swapped(x), ("fault",))


def _suits(world: World, past: Floats, j: int) -> bool:
    return kind_of(world, j) == "binary" and bool(np.mean(past == past.min()) <= 0.95)


def _swapped(x: Floats) -> Floats:
    low, high = np.nanmin(x), np.nanmax(x)
    return np.asarray(low + high - x, np.float64)
