"""The mix of kinds moves, or volumes grow, while the good model serves and every label is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from separation.episode import Episode, Truth, episode
from separation.world import Setting

STRENGTHS = ({"tilt": 1.0}, {"growth": 2.0}, {"growth": 2.0, "ramp": True}, {"season": True})


def build(
    setting: Setting, *, tilt: float = 0.0, growth: float = 1.0, ramp: bool = False, season: bool = False
) -> Episode:
    """``growth`` multiplies half of the measured features; ``season``: the mix swings to and fro within the stream."""
    world, rng = setting.world(), setting.rng(7)
    base = world.parts.stream
    kinds = sorted(set(world.rows.kind.tolist()))
    tastes = rng.standard_normal(len(kinds))
    strengths = [1.5 * np.sin(np.pi * w / 4) for w in range(8)] if season else [tilt] * 8
    parts = []
    for w, strength in enumerate(strengths):
        factor = dict(zip(kinds, np.exp(strength * tastes).tolist(), strict=True))
        weight = np.array([factor[k] for k in world.rows.kind[base].tolist()])
        parts.append(world.sessions(base, 1000, rng, weight=weight, name=f"w{w}-"))
    events = parts[0].concat(parts)
    if growth != 1.0:
        measured = np.flatnonzero(world._jitters)  # noqa: SLF001 - the same columns vary
        some = rng.permutation(measured)[: max(len(measured) // 2, 1)] if len(measured) else measured
        x = events.x.copy()
        share = np.linspace(0.0, 1.0, len(x))[:, None] if ramp else 1.0
        x[:, some] *= growth**share
        events = replace(events, x=x)
    return episode(world, events, rng, Truth(("drift", "stable"), ("covariate_drift",)))
