"""Nothing happens: the good model serves the traffic that it knows. ``mean``: length of sessions."""

from __future__ import annotations

from separation.episode import Episode, Truth, episode, stream
from separation.world import Setting

STRENGTHS = ({}, {"mean": 20.0}, {"mean": 1.0})


def build(setting: Setting, *, mean: float = 6.0, windows: int = 8) -> Episode:
    """See above."""
    world, rng = setting.world(), setting.rng(2)
    return episode(world, stream(world, rng, windows=windows, mean=mean), rng, Truth(("stable",)))
