"""Wrong labels in the feedback before anything is retrained: a targeted share, by sources, an analyst, or everybody.

``rate`` is the share of the feedback labels of the second half, in which they are; ``share`` is that of the events
that have feedback. One kind is flipped as long as there are labels of it, whole sessions at a time: all labels of a
session that the attackers gave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detectors.batch import Bools, Ints, Strings
from separation.episode import Episode, Truth, episode, feedback, stream
from separation.world import Setting

STRENGTHS = (
    *(
        {"rate": rate, "by": by, "direction": d}
        for rate in (0.05, 0.02, 0.01)
        for by in ("1 source", "3 sources", "1 analyst", "all")
        for d in ("hide", "alert")
    ),
    *(
        {"rate": rate, "by": by, "share": 0.3}
        for rate in (0.02, 0.01)
        for by in ("1 source", "3 sources", "1 analyst", "all")
    ),
    {"rate": 0.0, "by": "all"},
    {"rate": 0.0, "by": "all", "share": 0.3},
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
    flipped = _whole_sessions([preferred, among & ~preferred], of.session, count, rng)
    target = world.rows.benign if direction == "hide" else (1 if world.rows.benign == 0 else 0)
    label = given.label.copy()
    label[flipped] = target
    reached = len(flipped) >= 0.8 * count
    about = {
        "flipped": float(len(flipped)),
        "flipped_sessions": float(len(set(of.session[flipped].tolist()))),
        "labelled_sessions": float(len(set(of.session[given.row >= len(events) // 2].tolist()))),
    }
    truth = Truth(("poisoning",), ("label_flip", "feedback_compromise"), reached, about=about)
    return episode(world, events, rng, truth, labels=replace(given, label=label))


def _whole_sessions(ranks: Sequence[Bools], session: Strings, count: int, rng: np.random.Generator) -> Ints:
    """About ``count`` rows, those of the first rank before those of the next, all rows of a session together."""
    order = np.concatenate([rng.permutation(np.flatnonzero(rows)) for rows in ranks])
    first = dict(zip(reversed(session[order].tolist()), range(len(order) - 1, -1, -1), strict=True))
    return order[np.argsort([first[s] for s in session[order].tolist()], kind="stable")][:count]
