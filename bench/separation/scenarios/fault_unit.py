"""One feature comes in another unit at one source (or more): by a ratio, or as its logarithm."""

from __future__ import annotations

import numpy as np

from detectors.batch import Floats
from separation.episode import Episode
from separation.faults import Hit, changed_episode, measured
from separation.world import Setting

STRENGTHS = (
    {"ratio": 1000.0},
    {"ratio": 8.0},
    {"ratio": 0.125},
    {"log": True},
    {"ratio": 1000.0, "sources": 3},
    {"ratio": 1000.0, "sources": 12},
    {"ratio": 1000.0, "features": 2},
)


def build(setting: Setting, *, ratio: float = 1.0, log: bool = False, sources: int = 1, features: int = 1) -> Episode:
    """See above."""
    return changed_episode(
        setting,
        41,
        Hit(sources, features),
        lambda world, past, j: measured(world, past, j) and (not log or _large(past)),
        lambda *_: lambda x, _rng: np.log1p(np.maximum(x, 0)) if log else x * ratio,
        ("fault",),
    )


def _large(past: Floats) -> bool:
    """A logarithm changes what is large."""
    return bool(np.nanmedian(past[past != 0]) >= 10)
