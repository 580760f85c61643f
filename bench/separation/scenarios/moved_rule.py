"""A kind counts as the other class from now on (concept drift): all who label say so, and a retrain learns it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from separation.episode import Episode, Truth, buffer_of, episode, new_rows, retrained, stream
from separation.scenario import Unsuited
from separation.world import Events, Setting, World

STRENGTHS = ({"learned": True}, {"learned": False})


def build(setting: Setting, *, learned: bool) -> Episode:
    """``learned`` False: the good model still serves, only the labels have moved."""
    world, rng = setting.world(), setting.rng(5)
    kinds = world.kinds(benign=bool(rng.integers(2)), least=0.02) or world.kinds(benign=True, least=0.02)
    if not kinds:
        raise Unsuited("no kind can move")
    kind = str(rng.choice(kinds))
    events = _moved(world, stream(world, rng), kind)
    truth = Truth(("drift", "stable"), ("concept_drift",))
    if not learned:
        return episode(world, events, rng, truth)
    new = _moved(world, new_rows(world, rng), kind)
    buffer = buffer_of(world, new, rng)
    return episode(world, events, rng, truth, score_f=retrained(world, buffer, setting.seed + 1000), buffer=buffer)


def _moved(world: World, events: Events, kind: str) -> Events:
    benign, other = world.rows.benign, 1 if world.rows.benign == 0 else 0
    now = np.where(events.y == benign, other, benign)
    return replace(events, y=np.where(events.kind == kind, now, events.y))
