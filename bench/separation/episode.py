"""What a scenario makes: versions, reference, retraining buffer, a stream with feedback, and the truth about all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from detectors.batch import Bools, Columns, Floats, Ints, Scorer, Strings
from separation.models import Fitted
from separation.world import ANALYSTS, Events, World

Called = Literal["poisoning", "regression", "drift", "stable", "fault", "evasion"]
TRUSTED: Final = "sandbox"
OLD: Final = 4000  # rows of a retraining buffer that the good model learned as well
NEW: Final = 8000
BUFFER_SESSION: Final = 2.0


@dataclass(frozen=True, slots=True)
class Truth:
    """What a perfect judge would say.

    ``expected`` are the families that are right (``stable``: also quiet). ``effective``: the attack does what it is
    for; others are counted and left out of rates. ``gain`` is the attack success rate less the good model's.
    """

    expected: tuple[Called, ...]
    hypothesis: tuple[str, ...] = ()
    effective: bool = True
    gain: float = 0.0
    trigger: Mapping[str, float] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    about: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Feedback(Columns):
    """Labels of events [row in the stream], as somebody gave them; each arrives a window after its event."""

    row: Ints
    label: Ints
    origin: Strings
    trusted: Bools


@dataclass(frozen=True, slots=True)
class BufferRows(Columns):
    """A retraining buffer: ``label`` as given, ``y`` as true."""

    x: Floats
    label: Ints
    y: Ints
    source: Strings
    session: Strings
    origin: Strings
    touched: Bools


@dataclass(frozen=True, slots=True)
class Episode:
    """``served`` scores the stream where that is not what the bundle of f computes. ``score_g`` None: no LKG."""

    world: World
    score_f: Scorer
    score_g: Scorer | None
    events: Events
    feedback: Feedback
    buffer: BufferRows | None
    truth: Truth
    served: Scorer | None = None


def feedback(
    events: Events,
    rng: np.random.Generator,
    *,
    classes: int,
    share: float = 0.1,
    trusted: float = 0.015,
    noise: float = 0.01,
) -> Feedback:
    """Analysts label a share of the events with some noise, a sandbox a smaller share truly."""
    row = np.flatnonzero(rng.random(len(events)) < share + trusted)
    by_trusted = rng.random(len(row)) < trusted / max(share + trusted, 1e-9)
    label = events.y[row]
    wrong = (rng.random(len(row)) < noise) & ~by_trusted
    label = np.where(wrong, (label + rng.integers(1, classes, len(row))) % classes, label)
    analyst = np.char.add("analyst-", rng.integers(0, ANALYSTS, len(row)).astype(np.str_))
    return Feedback(row, label, np.where(by_trusted, TRUSTED, analyst), by_trusted)


def new_rows(world: World, rng: np.random.Generator, *, weight: Floats | None = None) -> Events:
    """The 8,000 events since the last training that a retrain learns."""
    size = min(NEW, int(BUFFER_SESSION * len(world.parts.new)))
    return world.sessions(world.parts.new, size, rng, mean=BUFFER_SESSION, weight=weight, name="b")


def buffer_of(
    world: World, new: Events, rng: np.random.Generator, *, label: Ints | None = None, noise: float = 0.01
) -> BufferRows:
    """Old rows and new ones with labels as feedback gave them: true up to noise, or as ``label`` says."""
    old = rng.choice(world.train_rows, min(OLD, len(world.train_rows)), replace=False)
    classes = len(world.schema.classes)
    given = new.y.copy() if label is None else label.copy()
    wrong = (rng.random(len(given)) < noise) & ~new.touched
    given = np.where(wrong, (given + rng.integers(1, classes, len(given))) % classes, given)
    n = len(old)
    analyst = np.char.add("analyst-", rng.integers(0, ANALYSTS, n + len(new)).astype(np.str_))
    sensor = np.char.add("sensor-", rng.integers(0, 12, n).astype(np.str_))
    return BufferRows(
        np.concatenate([world.rows.x[old], new.x]),
        np.concatenate([world.rows.y[old], given]),
        np.concatenate([world.rows.y[old], new.y]),
        np.concatenate([sensor, new.source]),
        np.concatenate([np.char.add("old", np.arange(n).astype(np.str_)), new.session]),
        analyst,
        np.concatenate([np.zeros(n, np.bool_), new.touched]),
    )


def stream(
    world: World, rng: np.random.Generator, *, windows: int = 8, weight: Floats | None = None, mean: float = 6.0
) -> Events:
    """Windows of 1,000 events of all kinds, also those that the good model does not know."""
    return world.sessions(world.parts.stream, 1000 * windows, rng, mean=mean, weight=weight)


def episode(
    world: World,
    events: Events,
    rng: np.random.Generator,
    truth: Truth,
    *,
    score_f: Scorer | None = None,
    buffer: BufferRows | None = None,
    labels: Feedback | None = None,
) -> Episode:
    """The good model serves unless ``score_f`` does."""
    classes = len(world.schema.classes)
    given = feedback(events, rng, classes=classes) if labels is None else labels
    return Episode(world, world.good if score_f is None else score_f, world.good, events, given, buffer, truth)


def retrained(world: World, buffer: BufferRows, seed: int) -> Fitted:
    """The version that learned the buffer."""
    return world.fit(buffer.x, buffer.label, seed)
