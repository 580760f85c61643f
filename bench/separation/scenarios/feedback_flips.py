"""Wrong labels in the feedback before anything is retrained: a targeted share, by sources, an analyst, or everybody.

``rate`` is the share of all feedback labels. ``region``: only one kind is flipped, whole sessions at a time.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from separation.episode import Episode, Truth, episode, feedback, stream
from separation.world import Setting

STRENGTHS = (
    *(
        {"rate": rate, "by": by, "direction": d}
        for rate in (0.05, 0.02, 0.01)
        for by in ("1 source", "3 sources", "1 analyst", "all")
        for d in ("hide", "alert")
    ),
    {"rate": 0.0, "by": "all"},
)


def build(
    setting: Setting, *, rate: float, by: str, direction: str = "hide", windows: int = 16, share: float = 0.1
) -> Episode:
    """The first half of the stream is honest."""
    world, rng = setting.world(), setting.rng(8)
    events = stream(world, rng, windows=windows)
    given = feedback(events, rng, classes=len(world.schema.classes), share=share)
    if not rate:
        return episode(world, events, rng, Truth(("stable", "drift")), labels=given)
    victim_benign = direction == "alert"
    kinds = world.kinds(benign=victim_benign, least=0.02) or world.kinds(benign=victim_benign, least=0.0)
    source = np.char.add("sensor-", rng.permutation(12).astype(np.str_))
    of = events.take(given.row)
    among = ~given.trusted & (given.row >= len(events) // 2)
    among &= (of.y == world.rows.benign) == victim_benign
    if by.endswith(("source", "sources")):
        among &= np.isin(of.source, source[: int(by[0])])
    if by == "1 analyst":
        among &= given.origin == "analyst-1"
    count = math.ceil(rate * int(np.sum(~given.trusted & (given.row >= len(events) // 2))))
    preferred = among & np.isin(of.kind, kinds[:1]) if kinds else among
    order = np.concatenate(
        [rng.permutation(np.flatnonzero(preferred)), rng.permutation(np.flatnonzero(among & ~preferred))]
    )
    flipped = order[:count]
    target = world.rows.benign if direction == "hide" else (1 if world.rows.benign == 0 else 0)
    label = given.label.copy()
    label[flipped] = target
    reached = len(flipped) >= 0.8 * count
    truth = Truth(
        ("poisoning",), ("label_flip", "feedback_compromise"), reached, about={"flipped": float(len(flipped))}
    )
    return episode(world, events, rng, truth, labels=replace(given, label=label))
