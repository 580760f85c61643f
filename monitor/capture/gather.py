"""Gathers the events of a stretch of time from messages, by session, and the labels that trusted origins gave them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from detectors.schema import Schema
from monitor.decoding.decode import SESSION_SECONDS
from monitor.decoding.envelope import BAD_JSON, DecodeLimits, EnvelopeReader, FeedbackEvent, InferenceEvent, Message
from monitor.decoding.reject import NO_SOURCE
from monitor.sources.source import Chunk

Cell = float | bool | str | None

_FEATURES: Final = msgspec.json.Decoder(dict[str, Cell] | list[Cell])
_SCORES: Final = msgspec.json.Decoder(dict[str, float] | list[float] | float)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Event time from ``start`` on and before ``end``, in seconds since the epoch."""

    start: float
    end: float

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError(f"a stretch starts before its end, not at {self.start:.0f} for {self.end:.0f}")

    def holds(self, ts: float) -> bool:
        """Whether an event of that time belongs to it."""
        return self.start <= ts < self.end


@dataclass(frozen=True, slots=True)
class Captured:
    """One event: its features by name, scores in class order, where it is from. ``session`` is never empty."""

    id: str
    source: str
    session: str
    features: dict[str, Cell]
    scores: tuple[float, ...]


@dataclass(slots=True)
class _Session:
    events: list[Captured] = field(default_factory=list)
    whole: bool = True


class Gathering:
    """Takes messages in any order. ``origins`` are those whose labels are believed, on guarded channels alone.

    A session of which an event lies outside of the stretch is left out whole, and so is every event whose id has other
    content elsewhere: nobody could say which one a label is about. Events without a session are tied as in the stream,
    by source and minute. ``counts``: unreadable, other_model, repeats, conflicting_ids, cut_sessions,
    untrusted_labels, contradictory_labels.
    """

    def __init__(self, model: str, stretch: Stretch, origins: frozenset[str], schema: Schema | None = None) -> None:
        self._model = model
        self._stretch = stretch
        self._origins = origins
        self._names = schema.names if schema is not None else ()
        self.classes: tuple[str, ...] = schema.classes if schema is not None else ()
        self._events = EnvelopeReader(InferenceEvent, DecodeLimits())
        self._feedback = EnvelopeReader(FeedbackEvent, DecodeLimits())
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._contents: dict[str, bytes] = {}
        self._conflicting: set[str] = set()
        self._labels: dict[str, set[str]] = {}
        self.counts: Counter[str] = Counter()

    def take(self, chunk: Chunk) -> None:
        """Enter the messages of a chunk."""
        if chunk.role == "inference":
            events, rejects = self._events.read(chunk)
            for message in events:
                self._event(message)
        else:
            said, rejects = self._feedback.read(chunk)
            self._label(said, guarded=chunk.role == "trusted")
        self.counts["unreadable"] += len(rejects)

    def whole_sessions(self) -> list[list[Captured]]:
        """The events of every session that lies in the stretch as a whole, in the order of their first events."""
        kept = []
        for session in self._sessions.values():
            if session.events and not session.whole:
                self.counts["cut_sessions"] += 1
            events = [e for e in session.events if e.id not in self._conflicting]
            if events and session.whole:
                kept.append(events)
        self.counts["conflicting_ids"] = len(self._conflicting)
        return kept

    def label(self, ident: str) -> str:
        """What trusted origins say that the event is; "" where they say nothing, or contradict each other."""
        said = self._labels.get(ident, set())
        return next(iter(said)) if len(said) == 1 else ""

    def contradictory(self, idents: Iterable[str]) -> int:
        """Of how many of these events trusted origins say different things."""
        return sum(len(self._labels.get(ident, ())) > 1 for ident in idents)

    def _event(self, message: Message[InferenceEvent]) -> None:
        event = message.event
        if event.model != self._model:
            self.counts["other_model"] += 1
            return
        source = event.source or NO_SOURCE
        name = event.session or f"@{int(message.ts // SESSION_SECONDS)}"
        session = self._sessions.setdefault((source, name), _Session())
        if not self._stretch.holds(message.ts):
            session.whole = False
            return
        content = hashlib.blake2b(message.value, digest_size=16).digest()
        before = self._contents.setdefault(event.id, content)
        if before is not content and before == content:
            self.counts["repeats"] += 1
            return
        if before != content:
            self._conflicting.add(event.id)
        features, scores = self._features(event), self._scores(event)
        if features is None or scores is None:
            self.counts["unreadable"] += 1
            return
        session.events.append(Captured(event.id, source, name, features, scores))

    def _features(self, event: InferenceEvent) -> dict[str, Cell] | None:
        try:
            features = _FEATURES.decode(event.features)
        except BAD_JSON:
            return None
        if isinstance(features, dict):
            return features
        names = self._names or [f"feature_{j}" for j in range(len(features))]
        return dict(zip(names, features, strict=True)) if len(names) == len(features) else None

    def _scores(self, event: InferenceEvent) -> tuple[float, ...] | None:
        try:
            scores = _SCORES.decode(event.scores)
        except BAD_JSON:
            return None
        if isinstance(scores, float):
            return 1.0 - scores, scores
        if isinstance(scores, list):
            return tuple(scores)
        self.classes = self.classes or tuple(scores)
        return tuple(scores[c] for c in self.classes) if scores.keys() == set(self.classes) else None

    def _label(self, messages: list[Message[FeedbackEvent]], *, guarded: bool) -> None:
        for message in messages:
            event = message.event
            if event.model not in (None, "", self._model):
                continue
            if guarded and event.origin in self._origins:
                self._labels.setdefault(event.id, set()).add(event.label)
            else:
                self.counts["untrusted_labels"] += 1
