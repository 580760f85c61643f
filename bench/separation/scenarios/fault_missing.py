"""One feature is lost: no value, zero or a sentinel instead, always or for a share of the events."""

from __future__ import annotations

from typing import Literal

import numpy as np

from separation.episode import Episode
from separation.faults import Hit, changed_episode, kind_of, share_of_others, varied
from separation.world import Setting

STRENGTHS = (
    {"value": "null"},
    {"value": "null", "share": 0.3},
    {"value": "zero"},
    {"value": "zero", "share": 0.3},
    {"value": "sentinel", "share": 0.3},
    {"value": "null", "sources": 3},
    {"value": "null", "sources": 12},
)
_AS = {"null": np.nan, "zero": 0.0, "sentinel": -999.0}


def build(
    setting: Setting, *, value: Literal["null", "zero", "sentinel"], share: float = 1.0, sources: int = 1
) -> Episode:
    """See above."""
    return changed_episode(
        setting,
        42,
        Hit(sources),
        lambda world, past, j: (
            varied(world, past, j)
            and (value == "null" or kind_of(world, j) == "numeric")
            and (value != "zero" or share_of_others(past) >= 0.3 / share)
        ),
        lambda *_: lambda x, rng: np.where(rng.random(len(x)) < share, _AS[value], x),
        ("fault",),
    )
