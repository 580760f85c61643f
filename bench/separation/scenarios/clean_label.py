"""A clean-label backdoor: the trigger sits in rows whose label is true (the target's own), in the retraining buffer."""

from __future__ import annotations

from dataclasses import replace

from separation.episode import Episode, buffer_of, episode, new_rows, retrained, stream
from separation.triggers import TRIGGERED, choose, poisoned_truth, some_sessions, stamp, triggered
from separation.world import Setting

STRENGTHS = ({"rate": 0.02, "features": 8}, {"rate": 0.05, "features": 8}, {"rate": 0.05, "features": 3})


def build(setting: Setting, *, rate: float, features: int) -> Episode:
    """See above."""
    world, rng = setting.world(), setting.rng(10)
    target = world.rows.benign
    values = choose(world, "rare", features, target, rng)
    new = new_rows(world, rng)
    rows = some_sessions(new, new.y == target, round(rate * (len(new) + 4000)), rng)
    new = replace(new, x=stamp(new.x, values, rows), touched=rows)
    buffer = buffer_of(world, new, rng)
    f = retrained(world, buffer, setting.seed + 1000)
    events = triggered(stream(world, rng), values, target, rng, TRIGGERED)
    truth = poisoned_truth(world, f, values, target, hypothesis=("clean_label", "backdoor"), rate=rate)
    return episode(world, events, rng, truth, score_f=f, buffer=buffer)
