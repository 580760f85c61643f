"""Counts by session, version by version, and what they say about attacks that passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from detectors.batch import Batch, Hashes, Ints
from monitor.hunting.compared import Compared, Marks
from monitor.hunting.messages import Estimate, Figure, Share
from rollback.hunt.estimate import (
    LEVEL,
    Interval,
    Passed,
    honest_events,
    honest_sessions,
    passed,
    passed_singly,
    scaled_up,
)
from rollback.hunt.session_tally import CAPACITY, SessionTally

EVENTS, CARRIERS, WITH, WITHOUT = range(4)
SINGLE = 2.0
"""Sessions with so many carriers on average, or fewer, are compared with single events of the reference."""
UNKNOWN = (
    "what an honest retrain would have changed is not known for version {version}: that takes its model and the last "
    "known good version's reference in the registry"
)


class Weighing:
    """Sessions of one version, in bounded memory."""

    def __init__(self, compared: Compared, capacity: int = CAPACITY) -> None:
        self.compared = compared
        self._sessions = SessionTally(4, capacity)
        self._events = np.zeros(2, np.int64)

    def add(self, keys: Hashes, batch: Batch, marks: Marks) -> None:
        """Take a batch's events, with the keyed hashes [n] of their sessions."""
        let_through = np.column_stack([marks.passed & marks.carries, marks.passed & ~marks.carries])
        self._events += let_through.sum(axis=0)
        columns = [np.ones(len(batch), np.bool_), marks.carries, let_through]
        self._sessions.add(keys, np.column_stack(columns).astype(np.int64))

    def parts(self, level: float) -> _Parts:
        """With and without the trigger; each figure holds with probability ``level``."""
        counts, share = self._sessions.counts(), self._sessions.share
        marked = self._part(counts, WITH, self._with_trigger(counts, level), level)
        return _Parts(marked, self._part(counts, WITHOUT, self._without(counts, level), level), share)

    def _part(self, counts: Ints, column: int, found: Passed | None, level: float) -> _Part:
        differing, share = _differing(counts, column), self._sessions.share
        events = int(self._events[column - WITH])
        known = None if found is None else scaled_up(found, differing, share, events, level)
        return _Part(events, round(len(differing) / share), known)

    def _with_trigger(self, counts: Ints, level: float) -> Passed | None:
        """Honest churn parts on these at most as often as on others: perhaps none of them is honest."""
        whole, single = self.compared.trusted.null, self.compared.trusted.event_null
        if whole is None or single is None:
            return None
        sessions, length = _sessions(counts, CARRIERS)
        honest = honest_sessions(single if length <= SINGLE else whole, sessions, length, level=level)
        carriers = counts[counts[:, CARRIERS] > 0, CARRIERS]
        events = honest_events(single, carriers, level)
        return passed_singly(_differing(counts, WITH), replace(honest, low=0.0), events)

    def _without(self, counts: Ints, level: float) -> Passed | None:
        null, differing = self.compared.trusted.null, _differing(counts, WITHOUT)
        if null is None:
            return None
        sessions, length = _sessions(counts, EVENTS)
        return passed(differing, honest_sessions(null, sessions, length, len(differing), level))


def _differing(counts: Ints, column: int) -> Ints:
    """Of each session with events that were let through and differ, how many."""
    held: Ints = counts[counts[:, column] > 0, column]
    return held


def _sessions(counts: Ints, column: int) -> tuple[int, float]:
    """How many sessions there are with such events, and how many of them each has on average."""
    number = int(np.count_nonzero(counts[:, column]))
    return number, float(counts[:, column].sum() / number) if number else 1.0


@dataclass(frozen=True, slots=True)
class _Part:
    events: int
    sessions: int
    found: Passed | None

    def plus(self, other: _Part) -> _Part:
        known = None
        if self.found is not None and other.found is not None:
            by_session = self.found.sessions.plus(other.found.sessions)
            known = Passed(by_session, self.found.events.plus(other.found.events))
        return _Part(self.events + other.events, self.sessions + other.sessions, known)

    def message(self) -> Share:
        found = self.found
        return Share(
            events=self.events,
            sessions=self.sessions,
            attack_events=_figure(found.events) if found else None,
            attack_sessions=_figure(found.sessions) if found else None,
        )


@dataclass(frozen=True, slots=True)
class _Parts:
    with_trigger: _Part
    without_trigger: _Part
    share: float


def estimate(weighings: Sequence[Weighing]) -> Estimate:
    """What all versions let pass together (at least one). Each part has its part of the error, so the sum holds."""
    level = 1 - (1 - LEVEL) / (2 * len(weighings))
    each = [weighing.parts(level) for weighing in weighings]
    with_trigger, without = each[0].with_trigger, each[0].without_trigger
    for more in each[1:]:
        with_trigger, without = with_trigger.plus(more.with_trigger), without.plus(more.without_trigger)
    first = weighings[0].compared
    classes = [name for name, wanted in zip(first.schema.classes, first.targets.tolist(), strict=True) if wanted]
    blind = [w.compared.version for w in weighings if w.compared.trusted.null is None]
    return Estimate(
        classes=classes,
        confidence=LEVEL,
        with_trigger=with_trigger.message() if any(w.compared.trigger for w in weighings) else None,
        without_trigger=without.message(),
        total=with_trigger.plus(without).message(),
        session_share=min(parts.share for parts in each),
        unknown=UNKNOWN.format(version=", ".join(blind)) if blind else "",
    )


def _figure(interval: Interval) -> Figure:
    return Figure(round(interval.low, 1), round(interval.estimate, 1), round(interval.high, 1))
