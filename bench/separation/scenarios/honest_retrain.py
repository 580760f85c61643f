"""An honest retrain on newer rows of the same kinds serves; ``tilt``: the mix of kinds has moved since."""

from __future__ import annotations

import numpy as np

from separation.episode import Episode, Truth, buffer_of, episode, new_rows, retrained, stream
from separation.world import Setting

STRENGTHS = ({}, {"tilt": 1.0})


def build(setting: Setting, *, tilt: float = 0.0, mean: float = 6.0) -> Episode:
    """See above."""
    world, rng = setting.world(), setting.rng(3)
    kinds = sorted(set(world.rows.kind.tolist()))
    factor = dict(zip(kinds, np.exp(tilt * rng.standard_normal(len(kinds))).tolist(), strict=True))
    weigh = lambda rows: np.array([factor[k] for k in world.rows.kind[rows].tolist()]) if tilt else None  # noqa: E731
    buffer = buffer_of(world, new_rows(world, rng, weight=weigh(world.parts.new)), rng)
    f = retrained(world, buffer, setting.seed + 1000)
    events = stream(world, rng, weight=weigh(world.parts.stream), mean=mean)
    return episode(world, events, rng, Truth(("drift", "stable")), score_f=f, buffer=buffer)
