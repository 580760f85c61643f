"""Evasion: numbers are off by growing factors until both models are fooled; without numbers some values are redrawn."""

from __future__ import annotations

import numpy as np

from detectors.batch import Bools, Floats
from separation.crafted import BURSTS, Target, burst
from separation.episode import Episode
from separation.world import Setting

STRENGTHS = BURSTS

_SCALES = (0.1, 0.3, 1.0, 3.0)


def build(setting: Setting, *, size: int, sources: int, direction: str = "hide", mean: float = 1.0) -> Episode:
    """See above."""
    return burst(setting, 63, noisy, size=size, sources=sources, direction=direction, mean=mean)


def noisy(aim: Target, x: Floats, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """Attacked rows, and which of them succeeded."""
    base, done = x.copy(), np.zeros(len(x), np.bool_)
    numeric = np.array([f.kind == "numeric" for f in aim.world.schema.features])
    whole = np.all(np.nan_to_num(aim.donors) == np.floor(np.nan_to_num(aim.donors)), axis=0)
    spread = np.nanstd(aim.donors, axis=0)
    for scale in np.repeat(_SCALES, 4):
        rows = np.flatnonzero(~done)
        if not len(rows):
            break
        part = base[rows]
        if numeric.any():
            added = (rng.random(part.shape) < 0.2) * 0.3 * scale * spread * rng.random(part.shape)
            moved = part * np.exp(scale * rng.standard_normal(part.shape)) + added
            moved = np.where(whole, np.round(moved), moved)
            part = np.where(numeric, moved, part)
        else:
            other = aim.donors[rng.integers(0, len(aim.donors), part.shape), np.arange(part.shape[1])]
            part = np.where(rng.random(part.shape) < 0.05 * scale, other, part)
        x[rows] = part
        done[rows] = aim.fooled(part)
    return x, done
