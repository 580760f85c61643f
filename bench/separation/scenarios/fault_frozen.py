"""One feature repeats one of its values for ever."""

from __future__ import annotations

import numpy as np

from separation.episode import Episode
from separation.faults import Hit, changed_episode, varied
from separation.world import Setting

STRENGTHS = ({}, {"sources": 3}, {"sources": 12})


def build(setting: Setting, *, sources: int = 1) -> Episode:
    """See above."""
    return changed_episode(
        setting,
        43,
        Hit(sources),
        varied,
        lambda *_: lambda x, rng: np.full(len(x), rng.choice(x)),
        ("fault",),
    )
