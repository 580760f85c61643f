"""Events made to fool the serving and the good model alike, and the walks by which somebody finds out how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Ints, Scorer
from separation.episode import BufferRows, Episode, Truth, buffer_of, episode, new_rows, retrained, stream
from separation.scenario import Unsuited
from separation.triggers import target_of
from separation.world import SOURCES, Events, Setting, World

Attack = Callable[["Target", Floats, np.random.Generator], tuple[Floats, Bools]]
BURSTS: Final = (
    *({"size": n, "sources": s} for n in (30, 100) for s in (1, 3, SOURCES)),
    *({"size": n, "sources": 1, "direction": "alert"} for n in (30, 100)),
    *({"size": n, "sources": 1, "mean": 3.0} for n in (30, 100)),
)
_ONSET: Final = 4000
_SPREAD: Final = 500  # events of ordinary traffic among which the burst comes


class Target:
    """The models to fool, the class to be called, and rows of that class to copy values from."""

    def __init__(self, world: World, models: tuple[Scorer, ...], target: int) -> None:
        self.world, self.models, self.target = world, models, target
        rows = world.known(world.parts.stream)
        x, y = world.rows.x[rows], world.rows.y[rows]
        sound = np.all([m(x).argmax(axis=1) == y for m in models], axis=0)
        self.donors, self.origins = x[sound & (y == target)], x[sound & (y != target)]
        self.labels = y[sound & (y != target)]
        if min(len(self.donors), len(self.origins)) < 30:
            raise Unsuited("the models know too few rows of either class")

    def fooled(self, x: Floats) -> Bools:
        """Whether all models call the rows the target class."""
        return np.asarray(np.all([m(x).argmax(axis=1) == self.target for m in self.models], axis=0))

    def score(self, x: Floats) -> Floats:
        """The least probability of the target class that a model gives."""
        return np.asarray(np.min([m(x)[:, self.target] for m in self.models], axis=0))


def burst(
    setting: Setting, salt: int, attack: Attack, *, size: int, sources: int, direction: str, mean: float
) -> Episode:
    """``size`` events that fool both models, among 500 ordinary ones; odd seeds serve an honest retrain."""
    world, rng = setting.world(), setting.rng(salt)
    aim, f, buffer = _aim(setting, world, direction, rng)
    x, y = made(aim, attack, size, rng)
    crafted = _sessions(aim, x, y, sources, mean, rng)
    truth = Truth(("evasion",), ("evasion_burst", "probing"), sources=tuple(np.unique(crafted.source).tolist()))
    return episode(world, mixed(stream(world, rng), crafted, rng), rng, truth, score_f=f, buffer=buffer)


def _aim(
    setting: Setting, world: World, direction: str, rng: np.random.Generator
) -> tuple[Target, Scorer | None, BufferRows | None]:
    """What to fool: the good model, or an honest retrain with it."""
    target = target_of(world, direction, rng)
    if setting.seed % 2 == 0:
        return Target(world, (world.good,), target), None, None
    buffer = buffer_of(world, new_rows(world, rng), rng)
    f = retrained(world, buffer, setting.seed + 1000)
    return Target(world, (f, world.good), target), f, buffer


def made(aim: Target, attack: Attack, size: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """Successful attacks and the true classes of the rows that they began with."""
    xs, ys, count = [], [], 0
    for _ in range(12):
        pick = rng.integers(0, len(aim.origins), 2 * size)
        x, done = attack(aim, aim.origins[pick].copy(), rng)
        xs.append(x[done])
        ys.append(aim.labels[pick][done])
        count += int(done.sum())
        if count >= size:
            return np.concatenate(xs)[:size], np.concatenate(ys)[:size]
    raise Unsuited(f"only {count} of {size} attacks fool the models")


def _sessions(aim: Target, x: Floats, y: Ints, sources: int, mean: float, rng: np.random.Generator) -> Events:
    """Crafted events in sessions of ``mean`` near-duplicates, from some sources."""
    n = len(x)
    of = np.repeat(np.arange(n), rng.geometric(1 / mean, n))[:n]
    near = aim.world.near(x[of], rng) if mean > 1 else x[of]
    still = aim.fooled(near)
    names = np.char.add("sensor-", rng.permutation(SOURCES)[:sources].astype(np.str_))
    source = rng.choice(names, n)[of]
    session = np.char.add("crafted", of.astype(np.str_))
    kind = np.full(n, "crafted")
    return Events(np.where(still[:, None], near, x[of]), y[of], kind, source, session, np.ones(n, np.bool_))


def mixed(events: Events, crafted: Events, rng: np.random.Generator) -> Events:
    """The stream with the crafted events in their order, from `_ONSET` on."""
    at = np.sort(rng.uniform(_ONSET, _ONSET + _SPREAD, len(crafted)))
    order = np.argsort(np.concatenate([np.arange(len(events)) + 0.0, at]), kind="stable")
    return Events.concat([events, crafted]).take(order)


def probe(setting: Setting, *, size: int, sources: int, direction: str, mean: float) -> Episode:
    """Walks of ``size`` events along the boundary: some cross it, some do not."""
    world, rng = setting.world(), setting.rng(64)
    aim, f, buffer = _aim(setting, world, direction, rng)
    x, y = _walks(aim, size, rng)
    fooled = float(aim.fooled(x).mean())
    crafted = _sessions(aim, x, y, sources, mean, rng)
    names = tuple(np.unique(crafted.source).tolist())
    effective = bool(0.1 <= fooled <= 0.95)
    truth = Truth(("evasion",), ("probing", "evasion_burst"), effective, sources=names, about={"fooled": fooled})
    return episode(world, mixed(stream(world, rng), crafted, rng), rng, truth, score_f=f, buffer=buffer)


def _walks(aim: Target, size: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """From a row of another class: one or two features a step, towards a row of the target class, then to and fro."""
    xs, ys = [], []
    while len(xs) < size:
        start, donor = rng.integers(len(aim.origins)), rng.integers(len(aim.donors))
        now, home, goal = aim.origins[start].copy(), aim.origins[start], aim.donors[donor]
        differs = np.flatnonzero((home != goal) & ~(np.isnan(home) & np.isnan(goal)))
        for _ in range(min(40, max(size - len(xs), 1))):
            columns = rng.choice(differs, min(int(rng.integers(1, 3)), len(differs)), replace=False)
            back = bool(aim.fooled(now[None])[0])
            now = now.copy()
            now[columns] = (home if back else goal)[columns]
            xs.append(now)
            ys.append(int(aim.labels[start]))
    return np.array(xs[:size]), np.array(ys[:size])
