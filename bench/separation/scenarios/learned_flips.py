"""A retrain has learned flipped labels of one kind, a targeted share of the buffer."""

from __future__ import annotations

import numpy as np

from separation.episode import Episode, Truth, buffer_of, episode, new_rows, retrained, stream
from separation.scenario import Unsuited
from separation.world import Setting

STRENGTHS = tuple({"rate": rate, "direction": d} for rate in (0.02, 0.05, 0.1) for d in ("hide", "alert"))
WORSE = 0.005


def build(setting: Setting, *, rate: float, direction: str) -> Episode:
    """Effective where half a percent more of the traffic is decided wrongly, or .3 of the kind."""
    world, rng = setting.world(), setting.rng(9)
    kinds = world.kinds(benign=direction == "alert", least=0.02)
    if not kinds:
        raise Unsuited("no kind to flip")
    kind = str(rng.choice(kinds))
    new = new_rows(world, rng)
    rows = np.flatnonzero(new.kind == kind)
    rows = rng.permutation(rows)[: round(rate * (len(new) + 4000))]
    target = world.rows.benign if direction == "hide" else (1 if world.rows.benign == 0 else 0)
    label = new.y.copy()
    label[rows] = target
    touched = np.zeros(len(new), np.bool_)
    touched[rows] = True
    buffer = buffer_of(world, type(new)(new.x, new.y, new.kind, new.source, new.session, touched), rng, label=label)
    f = retrained(world, buffer, setting.seed + 1000)
    base = world.parts.stream
    wrong = [score(world.rows.x[base]).argmax(axis=1) != world.rows.y[base] for score in (f, world.good)]
    own = world.rows.kind[base] == kind
    loss, of_kind = float(wrong[0].mean() - wrong[1].mean()), float(wrong[0][own].mean() - wrong[1][own].mean())
    truth = Truth(("poisoning",), ("label_flip",), loss >= WORSE or of_kind >= 0.3, of_kind, about={"loss": loss})
    return episode(world, stream(world, rng), rng, truth, score_f=f, buffer=buffer)
