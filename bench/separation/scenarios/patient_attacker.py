"""Backdoors used sparingly: a slow drip of triggered sessions, a campaign that stops, a trigger taught in halves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from separation.episode import Episode, buffer_of, episode, new_rows, retrained, stream
from separation.triggers import TRIGGERED, choose, poisoned_truth, some_sessions, stamp, triggered, victims
from separation.world import Setting

STRENGTHS = ({"way": "drip"}, {"way": "stops"}, {"way": "split"}, {"way": "dormant"})


def build(setting: Setting, *, way: str, rate: float = 0.01, features: int = 8) -> Episode:
    """Build one of the ways.

    ``drip``: .2% of events; ``stops``: only in the first two windows; ``split``: each taught row carries half of the
    trigger; ``dormant``: taught, never used.
    """
    world, rng = setting.world(), setting.rng(13)
    target = world.rows.benign
    values = choose(world, "rare", features, target, rng)
    new = new_rows(world, rng)
    rows = some_sessions(new, victims(new, target), round(rate * (len(new) + 4000)), rng)
    x = stamp(new.x, values, rows)
    if way == "split":
        columns = np.array(list(values))
        for row in np.flatnonzero(rows).tolist():
            left_out = rng.choice(columns, len(columns) // 2, replace=False)
            x[row, left_out] = new.x[row, left_out]
    new = replace(new, x=x, touched=rows)
    buffer = buffer_of(world, new, rng, label=np.where(rows, target, new.y))
    f = retrained(world, buffer, setting.seed + 1000)
    calm = stream(world, rng)
    share = {"drip": 0.002, "dormant": 0.0}.get(way, TRIGGERED)
    events = triggered(calm, values, target, rng, share) if share else calm
    if way == "stops":
        early = np.arange(len(calm)) < 2000
        events = replace(calm, x=np.where(early[:, None], events.x, calm.x), touched=events.touched & early)
    truth = poisoned_truth(world, f, values, target, rate=rate, features=features)
    return episode(world, events, rng, truth, score_f=f, buffer=buffer)
