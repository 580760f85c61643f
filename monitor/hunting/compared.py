"""A hunted version beside the last known good one: how its events are read, re-scored, marked, and weighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors.batch import Bools, Floats, Ints, Reference, Scorer
from detectors.nulls.margins import disagreement
from detectors.schema import Schema
from detectors.sequential import session_mean, sessions_of
from monitor.messages import ImplicatedItem
from monitor.panel import compare_versions
from rollback.bundle import Bundle, IntegrityError
from rollback.hunt.estimate import Null
from rollback.hunt.trigger import Trigger, TriggerError, read_trigger
from rollback.registry.moves import SHADOW
from rollback.registry.registry import Registry
from rollback.registry.service import Period, served_periods


class HuntError(Exception):
    """What was asked for cannot be hunted; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Of n events: how deep the two versions part, the classes that they give, and what that means.

    ``let_through``: the hunted version gave a class that the incident implicates (any, where it names none).
    ``carries``: it has the trigger. ``scored`` is False where LKG's model fails on the event.
    """

    depth: Floats
    served: Ints
    good: Ints
    let_through: Bools
    carries: Bools
    scored: Bools

    @property
    def differs(self) -> Bools:
        """LKG gives another class."""
        return np.asarray(self.served != self.good, np.bool_)

    @property
    def passed(self) -> Bools:
        """It was let through, and LKG gives another class."""
        return self.let_through & self.differs

    @property
    def listed(self) -> Bools:
        """It is to be looked at: decided differently, or let through with the trigger, or where LKG cannot say."""
        return self.differs | (self.let_through & (self.carries | ~self.scored))

    @property
    def slipped(self) -> Bools:
        """It was let through with the trigger, whatever LKG says."""
        return self.let_through & self.carries


@dataclass(frozen=True, slots=True)
class TrustedRows:
    """The reference's rows, how many of them carry the trigger, and the churn that an honest retrain shows on them.

    ``null`` is that of whole sessions, ``event_null`` of single events; None where either version cannot score them.
    """

    rows: int
    matched: int
    null: Null | None = None
    event_null: Null | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """One hunted version. ``targets`` [k] are the classes that the incident implicates."""

    version: str
    registered: bool
    schema: Schema
    simplex: bool
    score_good: Scorer
    trigger: Trigger | None
    targets: Bools
    trusted: TrustedRows
    periods: tuple[Period, ...]
    notes: tuple[str, ...]

    def mark(self, x: Floats, scores: Floats) -> tuple[Marks, Floats]:
        """What the two versions make of events x[n, d] with scores[n, k] as served; and LKG's scores."""
        good = self.score_good(x)
        return _marks(self.schema, self.trigger, self.targets, x, scores, good), good


def compare(registry: Registry, version: str, good: Bundle, implicated: ImplicatedItem) -> Compared:
    """Put a version beside LKG. Raises `HuntError` where LKG cannot re-score its events.

    A version that the registry does not have, or that fails verification, is read with LKG's columns; the churn of an
    honest retrain is not known then.
    """
    bundle, notes = _bundle(registry, version)
    versions = compare_versions(bundle, good)
    known = good.manifest.version
    if versions.score_g is None:
        why = "; ".join(note for note in versions.notes if "last known good" in note)
        raise HuntError(
            f"version {version} cannot be re-scored with version {known}: {why}; name another: --known-good"
        )
    try:
        trigger = read_trigger(implicated.features, versions.schema)
    except TriggerError as error:
        trigger = None
        notes.append(f"no trigger is marked: {error}")
    named = np.isin(np.array(versions.schema.classes), implicated.labels)
    targets = named if named.any() else np.ones_like(named)
    described = bundle or good
    return Compared(
        version,
        bundle is not None,
        versions.schema,
        described.manifest.score_kind == "simplex",
        versions.score_g,
        trigger,
        targets,
        _trusted(versions.reference, versions.schema, trigger, targets),
        tuple(served_periods(registry.history(), version)),
        tuple(notes),
    )


def _bundle(registry: Registry, version: str) -> tuple[Bundle | None, list[str]]:
    if version not in registry.versions():
        return None, [f"version {version} is not in the registry: its events are read with the columns of LKG"]
    try:
        return registry.load(version), []
    except IntegrityError as error:
        return None, [f"version {version} fails verification, and its events are read with the columns of LKG: {error}"]


def _marks(schema: Schema, trigger: Trigger | None, targets: Bools, x: Floats, scores: Floats, good: Floats) -> Marks:
    scored = np.asarray(~np.isnan(good).any(axis=1), np.bool_)
    depth, served, known = disagreement(scores, np.where(scored[:, None], good, scores))
    carries = trigger.carried_by(x, schema) if trigger is not None else np.zeros(len(x), np.bool_)
    return Marks(depth, served, known, targets[served], carries, scored)


def _trusted(reference: Reference | None, schema: Schema, trigger: Trigger | None, targets: Bools) -> TrustedRows:
    if reference is None or not len(reference):
        return TrustedRows(0, 0)
    carries = trigger.carried_by(reference.x, schema) if trigger is not None else np.zeros(len(reference), np.bool_)
    matched = int(carries.sum())
    if np.isnan(reference.f).any() or np.isnan(reference.g).any():
        return TrustedRows(len(reference), matched)
    marks = _marks(schema, trigger, targets, reference.x, reference.f, reference.g)
    code, count = sessions_of(reference.session)
    # the trigger on a trusted row is not what an honest retrain changes
    share = session_mean((marks.passed & ~marks.carries).astype(np.float64), code, count)
    whole = Null(int(np.count_nonzero(share)), count, len(reference) / count)
    return TrustedRows(len(reference), matched, whole, Null(float(share.sum()), count, 1.0))


def hunted_versions(order: Sequence[str], version: str, first_poisoned: str | None, known_good: str) -> list[str]:
    """The incident's version and those before it since the first that was poisoned already, oldest first.

    >>> hunted_versions(["1", "2", "3", "4"], "4", "3", "1"), hunted_versions(["1"], "9", None, "1")
    (['3', '4'], ['9'])
    """
    if first_poisoned not in order or version not in order:
        return [version]
    between = order[order.index(first_poisoned or version) : order.index(version) + 1]
    return [v for v in between if v != known_good and not v.endswith(SHADOW)] or [version]
