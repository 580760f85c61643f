"""A kind that the good model does not know has come, with true labels; an honest retrain learned it.

``benign``: a new benign service, which the good model may take for an attack.
"""

from __future__ import annotations

from separation.episode import Episode, Truth, buffer_of, episode, new_rows, retrained, stream
from separation.scenario import Unsuited
from separation.world import Setting

STRENGTHS = ({"benign": False}, {"benign": True}, {"benign": False, "learned": False})


def build(setting: Setting, *, benign: bool, learned: bool = True) -> Episode:
    """``learned`` False: no retrain yet, the good model serves."""
    rng = setting.rng(4, int(benign))
    kinds = setting.world().kinds(benign=benign)
    if not kinds:
        raise Unsuited("no kind can be held out")
    world = setting.world((str(rng.choice(kinds)),))
    events = stream(world, rng)
    truth = Truth(("drift", "stable") if learned else ("drift", "stable", "evasion"), ("new_class", "concept_drift"))
    if not learned:
        return episode(world, events, rng, truth)
    buffer = buffer_of(world, new_rows(world, rng), rng)
    return episode(world, events, rng, truth, score_f=retrained(world, buffer, setting.seed + 1000), buffer=buffer)
