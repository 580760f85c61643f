"""What breaks between a sensor and the model, and what honestly changes one feature: who is hit, what, and how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from detectors.batch import Bools, Floats, Ints, Strings
from detectors.schema import UNSEEN
from separation.episode import Called, Episode, Truth, episode, stream
from separation.scenario import Unsuited
from separation.world import SOURCES, Events, Setting, World

EFFECTIVE = 0.2
"""A change of fewer of the values that it hits is none: a frozen feature that never moved is not broken."""

Change = Callable[[Floats, np.random.Generator], Floats]
"""New values of a column[m], from the old ones of the events that are hit."""


@dataclass(frozen=True, slots=True)
class Hit:
    """``sources``: how many of the twelve are hit. ``features``: how many. ``onset``: the first window with it."""

    sources: int = 1
    features: int = 1
    onset: int = 0


def changed_episode(
    setting: Setting,
    salt: int,
    hit: Hit,
    suits: Callable[[World, Floats, int], bool],
    change: Callable[[World, Floats, int], Change],
    expected: tuple[Called, ...],
) -> Episode:
    """A stable stream with ``change`` applied to features that suit, at some sources. Raises `Unsuited`."""
    world, rng = setting.world(), setting.rng(salt)
    events = stream(world, rng)
    names = np.char.add("sensor-", rng.permutation(SOURCES)[: hit.sources].astype(np.str_))
    rows = np.isin(events.source, names) & (np.arange(len(events)) >= 1000 * hit.onset)
    past = world.reference.x[np.isin(world.reference.source, names)]
    able = [j for j in range(events.x.shape[1]) if suits(world, past[:, j], j)]
    if len(able) < hit.features:
        raise Unsuited("no feature suits this change")
    picked = rng.permutation(able)[: hit.features]
    x, share = apply(events, rows, picked, lambda j: change(world, past[:, j], j), rng)
    truth = Truth(
        expected,
        ("pipeline_fault",) if "fault" in expected else (),
        effective=share >= EFFECTIVE,
        trigger={world.schema.names[j]: share for j in picked},
        sources=tuple(names.tolist()),
        about={"changed": share},
    )
    return episode(world, replace(events, x=x, touched=rows), rng, truth)


def apply(
    events: Events, rows: Bools, picked: Ints, change: Callable[[int], Change], rng: np.random.Generator
) -> tuple[Floats, float]:
    """The events' features after the change, and the share of values hit that it altered (least of the features)."""
    x, shares = events.x.copy(), []
    for j in picked.tolist():
        old = x[rows, j]
        x[rows, j] = change(j)(old, rng)
        shares.append(float(np.mean((x[rows, j] != old) & ~(np.isnan(old) & np.isnan(x[rows, j])))))
    return x, min(shares)


def kind_of(world: World, j: int) -> str:
    """Kind of a feature in its schema; numbers with two values count as binary."""
    if world.schema.features[j].kind == "categorical":
        return "categorical"
    return "binary" if len(np.unique(world.rows.x[:, j])) == 2 else "numeric"


def measured(world: World, past: Floats, j: int) -> bool:
    """Numbers with many values, a third of which are not zero: a unit shows in them."""
    many = kind_of(world, j) == "numeric" and len(np.unique(world.rows.x[:, j])) > 50
    return bool(many and np.mean(np.nan_to_num(past) != 0) >= 1 / 3)


def varied(world: World, past: Floats, j: int) -> bool:  # noqa: ARG001 - one signature for all
    """No value holds more than four fifths."""
    values, counts = np.unique(past, return_counts=True)
    return bool(len(values) > 1 and counts.max() <= 0.8 * len(past))


def share_of_others(past: Floats) -> float:
    """Share of values that are not zero."""
    return float(np.mean(np.nan_to_num(past, nan=1.0) != 0))


def named_values(world: World, past: Floats, j: int) -> tuple[Ints, Floats]:
    """Codes of a categorical feature and their shares."""
    known = past[past >= 0].astype(np.int64)
    counts = np.bincount(known, minlength=len(world.schema.features[j].vocabulary))
    return np.arange(len(counts)), counts / max(len(past), 1)


def at_source(events: Events, source: str, rng: np.random.Generator, share: float) -> Bools:
    """Whole sessions of one source that hold about ``share`` of its events."""
    own = np.unique(events.session[events.source == source])
    return np.isin(events.session, own[rng.random(len(own)) < share])


def replaced(events: Events, rows: Bools, by: Events, names: Strings) -> Events:
    """The events with the given rows taken over from others, in sessions ``names``, at the sources they were."""
    x, y, kind, session = events.x.copy(), events.y.copy(), events.kind.astype("<U64"), events.session.astype("<U64")
    x[rows], y[rows], kind[rows], session[rows] = by.x, by.y, by.kind, names
    return replace(events, x=x, y=y, kind=kind, session=session)


def unseen(column: Floats, where: Bools) -> Floats:
    """The column with values that no vocabulary holds."""
    return np.where(where, UNSEEN, column)
