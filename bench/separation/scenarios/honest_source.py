"""One source (or more) changes: another mix of kinds, a kind that it never had, a burst of one kind."""

from __future__ import annotations

from typing import Literal

import numpy as np

from separation.episode import Episode, Truth, episode, stream
from separation.faults import at_source, replaced
from separation.scenario import Unsuited
from separation.world import SOURCES, Setting

STRENGTHS = (
    {"what": "mix"},
    {"what": "new", "benign": True},
    {"what": "new", "benign": False},
    {"what": "new", "benign": False, "sources": SOURCES},
    {"what": "burst"},
)


def build(setting: Setting, *, what: Literal["mix", "new", "burst"], benign: bool = False, sources: int = 1) -> Episode:
    """Half of a source's sessions are of a new kind (or another mix, all of them); a burst lasts one window."""
    rng = setting.rng(48)
    kinds = setting.world().kinds(benign=benign)
    if not kinds:
        raise Unsuited("no kind stands apart")
    kind = str(rng.choice(kinds))
    world = setting.world((kind,) if what == "new" else ())
    events = stream(world, rng, weight=(~np.isin(world.rows.kind[world.parts.stream], world.without)).astype(float))
    rows = np.zeros(len(events), np.bool_)
    for name in rng.permutation(np.unique(events.source))[:sources].tolist():
        rows |= at_source(events, name, rng, 1.0 if what == "mix" else 0.5)
    if what == "burst":
        rows &= np.arange(len(events)) // 1000 == 4
    base = world.parts.stream
    if what == "mix":
        tastes = {k: float(np.exp(1.5 * rng.standard_normal())) for k in sorted(set(world.rows.kind.tolist()))}
        weight = np.array([tastes[k] for k in world.rows.kind[base].tolist()])
    else:
        weight = (world.rows.kind[base] == kind).astype(np.float64)
    if not weight.any():
        raise Unsuited("the stream has no row of this kind")
    new = world.sessions(base, int(rows.sum()), rng, weight=weight, name="new")
    truth = Truth(("drift", "stable", "evasion"))
    return episode(world, replaced(events, rows, new, new.session), rng, truth)
