"""What a hunt writes, as published types: `summary.json`, and the lines of `worst.ndjson` and `missed.ndjson`."""

from __future__ import annotations

from typing import Literal

import msgspec

from monitor.messages import Name, OffsetRange, Probability, Seconds, Value


class MissedEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`tocsin.missed.v1`: an event that the last known good version would have decided otherwise, or with the trigger.

    ``depth`` is how far both are sure of it: the smaller one of log f[a] - log f[b] and log g[b] - log g[a] for the
    classes a (as served, by f) and b (LKG's, by g). ``trigger``: it carries the trigger that the incident names.
    ``passed``: it was given a class that the incident implicates, and LKG gives another; where LKG agrees, the event is
    listed because it was given such a class with the trigger, which LKG does not know. ``last_known_good`` is null
    where LKG's model fails on the event. ``topic`` (or file), ``partition`` and ``offset`` (or line, from 0) say where
    it lies. ``features`` is there in `worst.ndjson` alone.
    """

    id: Name
    ts: Seconds
    version: Name
    source: str
    served: str
    last_known_good: str | None
    depth: float
    trigger: bool
    passed: bool
    served_scores: dict[str, Probability]
    last_known_good_scores: dict[str, float]
    topic: str
    partition: int
    offset: int
    session: str | None = None
    ref: str | None = None
    features: dict[str, Value] | None = None


class Figure(msgspec.Struct, frozen=True):
    """An estimate, and the limits between which the figure lies with the result's confidence."""

    low: float
    estimate: float
    high: float


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Attacks that passed, of events with the trigger or without it.

    ``events`` and ``sessions`` were counted: given an implicated class by the hunted version, and another one by LKG.
    ``attack_events`` and ``attack_sessions`` are what is left of them less what an honest retrain would have changed;
    null where that is not known.
    """

    events: int
    sessions: int
    attack_events: Figure | None
    attack_sessions: Figure | None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """How many attacks passed, with ``confidence``; where that is not known, ``unknown`` says why.

    ``classes`` are those that the incident implicates. ``with_trigger`` is null where no trigger is known. ``total`` is
    the sum. ``session_share`` is below 1 where there were too many sessions to count each of them: counts
    of sessions are scaled up from that sample then, and the limits are wider by its chance.
    """

    classes: list[str]
    confidence: float
    with_trigger: Share | None
    without_trigger: Share
    total: Share
    session_share: float = 1.0
    unknown: str = ""


class Served(msgspec.Struct, frozen=True):
    """From when to when the registry's pointer named a version; ``until`` null: it still does."""

    since: Seconds
    until: Seconds | None


class HuntedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version whose events were re-scored, and when it was made to serve.

    ``before_service`` of its events happened before the registry made it serve, ``after_service`` after it was taken
    back: they are hunted like all others, for they name the version.
    """

    version: Name
    registered: bool
    served: list[Served]
    events: int = 0
    before_service: int = 0
    after_service: int = 0


class Direction(msgspec.Struct, frozen=True):
    """Events by the class that LKG gives and the one that was served."""

    last_known_good: str
    served: str
    events: int
    with_trigger: int


class Tally(msgspec.Struct, frozen=True):
    """A source or session: events of an implicated class that LKG calls something else, all that differ, the trigger's.

    A session's name holds its source.
    """

    name: str
    passed: int
    differing: int
    with_trigger: int


class Table(msgspec.Struct, frozen=True):
    """Those with the largest ``passed``, of ``names`` at least.

    Where there were very many names, ``passed`` may be too low by ``too_low_by``.
    """

    largest: list[Tally]
    names: int
    too_low_by: int = 0


class Input(msgspec.Struct, frozen=True):
    """What was read: a file with its SHA-256, or the offsets of a topic's partition."""

    messages: int
    file: str | None = None
    sha256: str | None = None
    offsets: OffsetRange | None = None


class Containment(msgspec.Struct, frozen=True, kw_only=True):
    """The trigger as rules; ``reason`` says why one is not written.

    ``matched`` of the reference's ``trusted`` rows carry the trigger (false alarms of the rule), at most the share
    ``bound`` of honest events with 95% confidence.
    """

    features: dict[str, Value]
    sigma: str | None
    stix: str | None
    matched: int
    trusted: int
    bound: float
    reason: str = ""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Messages read, and what became of them: ``events`` were re-scored, each once.

    ``conflicts`` are among these: they repeat an id with another content. ``differing`` were decided otherwise than LKG
    would have; ``passed`` of them were given a class that the incident implicates. ``with_trigger`` carry the trigger,
    whatever was decided; ``agreed_with_trigger`` of them were given an implicated class by both versions: what the
    trigger hides may be hidden from LKG too.
    """

    messages: int
    events: int
    repeats: int
    conflicts: int
    other_model: int
    other_version: int
    outside: int
    unreadable: dict[str, int]
    unscored: int
    differing: int
    passed: int
    with_trigger: int
    agreed_with_trigger: int


class HuntResult(msgspec.Struct, frozen=True, kw_only=True):
    """`tocsin.hunt.v1`: what a poisoned version missed.

    ``first`` and ``last`` are the event times of what was re-scored. ``made_from`` are versions made from the hunted
    ones, which are not hunted.
    """

    schema: Literal["tocsin.hunt.v1"] = "tocsin.hunt.v1"
    incident: Name
    hypothesis: str | None
    model: Name
    versions: list[HuntedVersion]
    made_from: list[str]
    last_known_good: Name
    first: Seconds | None
    last: Seconds | None
    inputs: list[Input]
    counts: Counts
    estimate: Estimate
    directions: list[Direction]
    sources: Table
    sessions: Table
    containment: Containment
    files: dict[str, str]
    notes: list[str]
    summary: str
