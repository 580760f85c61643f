"""One feature (or several) grows honestly, at one source or all: each event by about the factor, and others' too."""

from __future__ import annotations

import numpy as np

from separation.episode import Episode
from separation.faults import Hit, changed_episode, measured
from separation.world import SOURCES, Setting

STRENGTHS = (
    {"factor": 3.0},
    {"factor": 3.0, "spread": 0.5},
    {"factor": 2.0, "features": 4},
    {"factor": 3.0, "sources": SOURCES},
)


def build(setting: Setting, *, factor: float, spread: float = 0.0, sources: int = 1, features: int = 1) -> Episode:
    """``spread``: standard deviation of the logarithm of each event's own factor."""
    return changed_episode(
        setting,
        46,
        Hit(sources, features),
        measured,
        lambda *_: lambda x, rng: x * factor * np.exp(spread * rng.standard_normal(len(x))),
        ("drift", "stable"),
    )
