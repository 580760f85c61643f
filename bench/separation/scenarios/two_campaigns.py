"""Two backdoors at once: one hides attacks, the other makes benign traffic look like an attack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from separation.episode import Episode, buffer_of, episode, new_rows, retrained, stream
from separation.triggers import TRIGGERED, choose, poisoned_truth, some_sessions, stamp, target_of, triggered, victims
from separation.world import Setting

STRENGTHS = ({"rate": 0.005},)


def build(setting: Setting, *, rate: float) -> Episode:
    """Effective where the hiding one is."""
    world, rng = setting.world(), setting.rng(12)
    new = new_rows(world, rng)
    label, events = new.y.copy(), stream(world, rng)
    planted: list[tuple[dict[int, float], int]] = []
    for direction in ("hide", "alert"):
        target = target_of(world, direction, rng)
        values = choose(world, "rare", 3, target, rng)
        free = victims(new, target) & ~new.touched
        rows = some_sessions(new, free, round(rate * (len(new) + 4000)), rng)
        new = replace(new, x=stamp(new.x, values, rows), touched=new.touched | rows)
        label = np.where(rows, target, label)
        events = triggered(events, values, target, rng, TRIGGERED / 2)
        planted.append((values, target))
    buffer = buffer_of(world, new, rng, label=label)
    f = retrained(world, buffer, setting.seed + 1000)
    truth = replace(poisoned_truth(world, f, *planted[0]), trigger={})
    return episode(world, events, rng, truth, score_f=f, buffer=buffer)
