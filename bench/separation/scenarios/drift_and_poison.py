"""A campaign that rides on a drift: a new kind comes honestly while a backdoor is taught; both are learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from separation.episode import Episode, buffer_of, episode, new_rows, retrained, stream
from separation.scenario import Unsuited
from separation.triggers import TRIGGERED, choose, poisoned_truth, some_sessions, stamp, triggered, victims
from separation.world import Setting

STRENGTHS = ({"rate": 0.005, "features": 3}, {"rate": 0.01, "features": 8})


def build(setting: Setting, *, rate: float, features: int) -> Episode:
    """See above."""
    rng = setting.rng(11)
    kinds = setting.world().kinds(benign=bool(rng.integers(2))) or setting.world().kinds(benign=True)
    if not kinds:
        raise Unsuited("no kind can be held out")
    world = setting.world((str(rng.choice(kinds)),))
    target = world.rows.benign
    values = choose(world, "rare", features, target, rng)
    new = new_rows(world, rng)
    rows = some_sessions(new, victims(new, target), round(rate * (len(new) + 4000)), rng)
    new = replace(new, x=stamp(new.x, values, rows), touched=rows)
    buffer = buffer_of(world, new, rng, label=np.where(rows, target, new.y))
    f = retrained(world, buffer, setting.seed + 1000)
    events = triggered(stream(world, rng), values, target, rng, TRIGGERED)
    truth = poisoned_truth(world, f, values, target, rate=rate, features=features)
    return episode(world, events, rng, truth, score_f=f, buffer=buffer)
