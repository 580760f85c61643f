"""An honest retrain that forgets: the buffer lacks a kind, which still comes. Nobody lied; the model got worse."""

from __future__ import annotations

import numpy as np

from separation.episode import Episode, Truth, buffer_of, episode, new_rows, retrained, stream
from separation.scenario import Unsuited
from separation.world import Setting

STRENGTHS = ({}, {"noise": 0.03})
WORSE = 0.3  # effective where at least this share of the kind is now wrong that was right


def build(setting: Setting, *, noise: float = 0.01) -> Episode:
    """See above."""
    world, rng = setting.world(), setting.rng(6)
    kinds = world.kinds(benign=False, least=0.02)
    if not kinds:
        raise Unsuited("no kind can be forgotten")
    kind = str(rng.choice(kinds))
    new = new_rows(world, rng)
    keep = new.kind != kind
    rows = buffer_of(world, new.take(keep), rng, noise=noise)
    old = len(rows) - int(keep.sum())
    of_kind = np.zeros(len(rows), np.bool_)
    known = {tuple(r) for r in world.rows.x[world.train_rows][world.rows.kind[world.train_rows] == kind].tolist()}
    of_kind[:old] = [tuple(r) in known for r in rows.x[:old].tolist()]
    buffer = rows.take(~of_kind)
    f = retrained(world, buffer, setting.seed + 1000)
    mine = world.parts.stream[world.rows.kind[world.parts.stream] == kind]
    x, y = world.rows.x[mine], world.rows.y[mine]
    right = [score(x).argmax(axis=1) == y for score in (world.good, f)]
    gain = float(np.mean(right[0] & ~right[1])) if len(mine) else 0.0
    truth = Truth(("regression",), ("regression",), gain >= WORSE, gain)
    return episode(world, stream(world, rng), rng, truth, score_f=f, buffer=buffer)
