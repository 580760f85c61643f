"""Nobody lies, but people differ: noise by origin, one sloppy source, bursts of kinds, an analyst with another rubric.

``noise`` is the highest rate of wrong labels. ``differs``: whose. ``rubric``: one analyst has always called one kind
(``kind``), or what is near the boundary (``border``), by the other class; the sandbox does not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detectors.batch import Bools
from separation.episode import Episode, Feedback, Truth, episode, feedback, stream
from separation.scenario import Unsuited
from separation.world import ANALYSTS, SOURCES, Events, Setting, World

STRENGTHS = (
    {"noise": 0.01},
    {"noise": 0.06},
    {"noise": 0.06, "differs": "origin"},
    {"noise": 0.06, "differs": "source"},
    {"noise": 0.01, "differs": "bursts"},
    {"noise": 0.01, "rubric": "kind"},
    {"noise": 0.01, "rubric": "border"},
)
_USUAL = 0.01
_RUBRIC = "analyst-1"


def build(setting: Setting, *, noise: float, differs: str = "nobody", rubric: str = "", windows: int = 16) -> Episode:
    """See above."""
    world, rng = setting.world(), setting.rng(20)
    events = _bursts(world, rng, windows) if differs == "bursts" else stream(world, rng, windows=windows)
    classes = len(world.schema.classes)
    given = feedback(events, rng, classes=classes, noise=0.0)
    rate = np.full(len(given), noise)
    if differs == "origin":
        by = dict(
            zip(
                [f"analyst-{i}" for i in range(ANALYSTS)], rng.permutation(np.linspace(0, noise, ANALYSTS)), strict=True
            )
        )
        rate = np.array([by.get(o, 0.0) for o in given.origin.tolist()])
    elif differs == "source":
        rate = np.where(events.source[given.row] == f"sensor-{rng.integers(SOURCES)}", noise, _USUAL)
    wrong = (rng.random(len(given)) < rate) & ~given.trusted
    if rubric:
        wrong |= (given.origin == _RUBRIC) & _differing(world, events, given, rubric, rng, setting.seed)
    other = (given.label + rng.integers(1, classes, len(given))) % classes
    labels = replace(given, label=np.where(wrong, other, given.label))
    return episode(world, events, rng, Truth(("stable", "drift")), labels=labels)


def _bursts(world: World, rng: np.random.Generator, windows: int) -> Events:
    """In every window other kinds are common."""
    base = world.parts.stream
    kinds = sorted(set(world.rows.kind.tolist()))
    parts = []
    for w in range(windows):
        factor = dict(zip(kinds, np.exp(1.5 * rng.standard_normal(len(kinds))).tolist(), strict=True))
        weight = np.array([factor[k] for k in world.rows.kind[base].tolist()])
        parts.append(world.sessions(base, 1000, rng, weight=weight, name=f"w{w}-"))
    return parts[0].concat(parts)


def _differing(
    world: World, events: Events, given: Feedback, rubric: str, rng: np.random.Generator, seed: int
) -> Bools:
    of = events.take(given.row)
    if rubric == "kind":
        kinds = world.kinds(benign=bool(rng.integers(2)), least=0.02) or world.kinds(benign=True, least=0.02)
        if not kinds:
            raise Unsuited("no kind to differ about")
        return np.asarray(of.kind == str(rng.choice(kinds)), np.bool_)
    rows = world.parts.new  # an opinion of their own, from other rows than the good model has seen
    opinion = world.fit(world.rows.x[rows], world.rows.y[rows], seed + 77)(of.x)[:, world.rows.benign]
    return np.asarray((opinion > 0.1) & (opinion < 0.9) & (of.y == world.rows.benign), np.bool_)
