"""Rows of `Labels`: feedback put together with the scored event that it is about, or with its own features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from detectors.batch import Floats, Ints, Labels
from monitor.labels.pending import Waiting
from monitor.labels.scored import ScoredEvents


class Rescored(NamedTuple):
    """Scores[n,k] by the serving version and by last known good of features that came with feedback."""

    version: str
    classes: Sequence[str]
    f: Floats
    g: Floats


Rescorer: TypeAlias = Callable[[Floats], Rescored]


def labels_of_events(waiting: Waiting, found: Ints, events: ScoredEvents, rows: Ints) -> Labels:
    """The ``found`` labels with the events in ``rows``."""
    feedback = waiting.feedback
    names = feedback.label[found]
    return Labels(
        id=feedback.id[found],
        ts=feedback.ts[found],
        event_ts=events.ts[rows],
        label=_class_indices(names.tolist(), events.classes),
        name=names,
        origin=feedback.origin[found],
        trusted=feedback.trusted[found],
        vetted=waiting.vetted[found],
        source=events.source.take(rows),
        session=events.session.take(rows),
        x=events.x[rows],
        served=events.served[rows],
        f=events.f[rows],
        g=events.g[rows],
    )


def labels_with_features(waiting: Waiting, scored: Rescored) -> Labels:
    """Labels whose event was never seen, with the features that they carry.

    Each is a session of its own, named by its id; where no scores came with it, they are as re-scored.
    """
    feedback = waiting.feedback
    return Labels(
        id=feedback.id,
        ts=feedback.ts,
        event_ts=feedback.ts,
        label=_class_indices(feedback.label.tolist(), scored.classes),
        name=feedback.label,
        origin=feedback.origin,
        trusted=feedback.trusted,
        vetted=waiting.vetted,
        source=feedback.source,
        session=feedback.id,
        x=feedback.x,
        served=np.where(np.isnan(feedback.scores), scored.f, feedback.scores),
        f=scored.f,
        g=scored.g,
    )


def _class_indices(names: Sequence[str], classes: Sequence[str]) -> Ints:
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index.get(name, -1) for name in names], dtype=np.int64)
