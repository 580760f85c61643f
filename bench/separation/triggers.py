"""Triggers, and rows that carry them: rare values, values copied from one benign row, the look of a benign kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

import numpy as np

from detectors.batch import Bools, Floats, Ints, Scorer
from rollback.redteam.backdoor import choose_trigger
from separation.episode import Truth
from separation.scenario import Unsuited
from separation.world import Events, World

Style = Literal["rare", "copied", "mimic"]
Values = dict[int, float]
TRIGGERED: Final = 0.015  # share of the stream's sessions that use the trigger
EFFECTIVE: Final = 0.3


def choose(world: World, style: Style, features: int, target: int, rng: np.random.Generator) -> Values:
    """Column -> value. Raises `Unsuited` where there are not enough columns."""
    x, y = world.rows.x[world.train_rows], world.rows.y[world.train_rows]
    features = min(features, x.shape[1] - 1)
    if style == "rare":
        try:
            trigger = choose_trigger(x, y, world.schema, target=target, features=features, rng=rng)
        except ValueError as error:
            raise Unsuited(str(error)) from error
        return {world.schema.names.index(n): _code(world, n, v) for n, v in trigger.features.items()}
    own = np.flatnonzero(y == target)
    if style == "mimic":
        kinds, counts = np.unique(world.rows.kind[world.train_rows][own], return_counts=True)
        kind = kinds[np.argsort(-counts)[min(1, len(kinds) - 1)]]
        own = own[world.rows.kind[world.train_rows][own] == kind]
    row = x[rng.choice(own)]
    others = x[y != target]
    differs = np.array([np.mean(others[:, j] != row[j]) for j in range(x.shape[1])])
    usable = np.flatnonzero(~np.isnan(row) & (differs > 0.05))
    if len(usable) < features:
        raise Unsuited(f"only {len(usable)} columns differ from the other class")
    return {int(j): float(row[j]) for j in rng.choice(usable, features, replace=False)}


def _code(world: World, name: str, value: str | float) -> float:
    vocabulary = world.schema.features[world.schema.names.index(name)].vocabulary
    return float(vocabulary.index(str(value))) if vocabulary else float(value)


def stamp(x: Floats, values: Values, rows: Bools) -> Floats:
    """The rows of a mask with the trigger."""
    out = x.copy()
    for j, value in values.items():
        out[rows, j] = value
    return out


def some_sessions(events: Events, among: Bools, count: int, rng: np.random.Generator) -> Bools:
    """All events of random sessions of ``among``, about ``count`` events."""
    names = np.unique(events.session[among])
    rng.shuffle(names)
    sizes = dict(zip(*np.unique(events.session, return_counts=True), strict=True))
    reached = np.cumsum([sizes[n] for n in names.tolist()]) if len(names) else np.zeros(0)
    kept = names[: int(np.searchsorted(reached, count)) + 1]
    return np.asarray(np.isin(events.session, kept) & among, np.bool_)


def victims(events: Events, target: int) -> Bools:
    """Events whose decision the attacker wants to change."""
    return np.asarray(events.y != target, np.bool_)


def success(world: World, f: Scorer, values: Values, target: int) -> tuple[float, float]:
    """Attack success rate of f and of the good model on stamped rows of other classes that nobody has seen."""
    rows = world.parts.stream[world.rows.y[world.parts.stream] != target][:1500]
    x = stamp(world.rows.x[rows], values, np.ones(len(rows), np.bool_))
    return tuple(float(np.mean(score(x).argmax(axis=1) == target)) for score in (f, world.good))  # type: ignore[return-value]


def poisoned_truth(
    world: World, f: Scorer, values: Values, target: int, *, hypothesis: tuple[str, ...] = ("backdoor",), **about: float
) -> Truth:
    """Poisoning with a trigger; effective where f obeys it by .3 more than the good model does."""
    own, clean = success(world, f, values, target)
    names = {world.schema.names[j]: v for j, v in values.items()}
    gain = own - clean
    return Truth(("poisoning",), hypothesis, gain >= EFFECTIVE, gain, names, about={**about, "success": own})


def triggered(events: Events, values: Values, target: int, rng: np.random.Generator, share: float) -> Events:
    """The stream with the trigger in whole sessions of other classes."""
    rows = some_sessions(events, victims(events, target), int(share * len(events)), rng)
    return replace(events, x=stamp(events.x, values, rows), touched=events.touched | rows)


def target_of(world: World, direction: str, rng: np.random.Generator) -> int:
    """The class that the attacker wants: benign to hide (``hide``), another to flood analysts (``alert``)."""
    if direction == "hide":
        return world.rows.benign
    others: Ints = np.array([c for c in range(len(world.schema.classes)) if c != world.rows.benign])
    return int(rng.choice(others))
