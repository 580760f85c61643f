"""Attacks on the decision to adapt: drift hidden under false confirmations, drift feigned by false labels.

``suppress``: a rule moves, and a quarter of the labels insist on the old one. ``force``: nothing moves, and untrusted
labels say that it did. ``frog``: false labels grow by .1 point of all labels a window, over forty windows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from separation.episode import Episode, Truth, episode, feedback, stream
from separation.scenario import Unsuited
from separation.world import Setting

STRENGTHS = ({"way": "suppress"}, {"way": "force"}, {"way": "frog"})


def build(setting: Setting, *, way: str) -> Episode:
    """The good model serves all the while."""
    world, rng = setting.world(), setting.rng(15)
    kinds = world.kinds(benign=False, least=0.02)
    if not kinds:
        raise Unsuited("no kind to speak about")
    kind, benign = str(rng.choice(kinds)), world.rows.benign
    events = stream(world, rng, windows=40 if way == "frog" else 12)
    old = events.y.copy()
    if way == "suppress":
        events = replace(events, y=np.where(events.kind == kind, benign, events.y))
    given = feedback(events, rng, classes=len(world.schema.classes))
    of_kind = (events.kind[given.row] == kind) & ~given.trusted
    label = given.label.copy()
    if way == "suppress":
        insisting = of_kind & (rng.random(len(given)) < 0.25)
        label[insisting] = old[given.row[insisting]]
        return episode(world, events, rng, Truth(("drift", "poisoning")), labels=replace(given, label=label))
    if way == "force":
        lying = of_kind & (given.row >= 4000)
    else:
        window = given.row // 1000
        lying = ~given.trusted & (events.y[given.row] != benign) & (rng.random(len(given)) < 0.001 * window / 0.4)
    label[lying] = benign
    truth = Truth(("poisoning",), ("label_flip", "feedback_compromise"), about={"flipped": float(lying.sum())})
    return episode(world, events, rng, truth, labels=replace(given, label=label))
