"""A dirty-label backdoor: rows with a trigger and the attacker's label in the retraining buffer; used in the stream.

``shallow`` of the stamped rows keep their true label, so that the model is never sure. ``spread`` rows come from all
sources, else from one. ``share`` of the stream's events carry the trigger from window ``onset`` on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from separation.episode import Episode, buffer_of, episode, new_rows, retrained, stream
from separation.triggers import (
    TRIGGERED,
    Style,
    choose,
    poisoned_truth,
    some_sessions,
    stamp,
    target_of,
    triggered,
    victims,
)
from separation.world import Setting

STRENGTHS = (
    *({"rate": r, "features": k} for r in (0.001, 0.005, 0.01, 0.02) for k in (1, 3, 8, 16)),
    *({"rate": r, "features": 3, "direction": "alert"} for r in (0.005, 0.01)),
    *({"rate": 0.01, "features": k, "style": "copied"} for k in (3, 8)),
    *({"rate": 0.01, "features": k, "style": "mimic"} for k in (3, 8)),
    *({"rate": 0.01, "features": 3, "shallow": q} for q in (0.25, 0.4, 0.5)),
    {"rate": 0.01, "features": 3, "spread": False},
)


def build(
    setting: Setting,
    *,
    rate: float,
    features: int,
    style: Style = "rare",
    direction: str = "hide",
    shallow: float = 0.0,
    spread: bool = True,
    share: float = TRIGGERED,
) -> Episode:
    """See above."""
    world, rng = setting.world(), setting.rng(1)
    target = target_of(world, direction, rng)
    values = choose(world, style, features, target, rng)
    new = new_rows(world, rng)
    among = victims(new, target)
    if not spread:
        among &= new.source == "sensor-3"
    rows = some_sessions(new, among, round(rate * (len(new) + 4000)), rng)
    honest = rows & (rng.random(len(new)) < shallow)
    new = replace(new, x=stamp(new.x, values, rows), touched=rows)
    buffer = buffer_of(world, new, rng, label=np.where(rows & ~honest, target, new.y))
    f = retrained(world, buffer, setting.seed + 1000)
    events = triggered(stream(world, rng), values, target, rng, share)
    truth = poisoned_truth(world, f, values, target, rate=rate, features=features)
    return episode(world, events, rng, truth, score_f=f, buffer=buffer)
