"""Feedback events to columns. Who is believed is decided here: by configuration and channel, never by the event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np

from detectors.batch import Bools, Columns, Floats, Hashes, Ints, Strings
from monitor.decoding.decode import strings
from monitor.decoding.envelope import DecodeLimits, EnvelopeReader, FeedbackEvent, Message
from monitor.decoding.reader import SchemaReader, Served
from monitor.decoding.reject import NO_SOURCE, Reject, UnreadableError
from monitor.hashes import KeyedHash
from monitor.sources.source import Chunk

_ABSENT: Final = (msgspec.Raw(), msgspec.Raw(b"null"))

ServingLookup: TypeAlias = Callable[[str], Served | None]
"""Model -> how to read features that feedback carries: those of the serving version. None: they are ignored."""


@dataclass(frozen=True, slots=True)
class Feedback(Columns):
    """Labels for one model, as decoded, in the order in which they came.

    ``named`` is False where the event names no model: then it is offered to every model, and only the one that knows
    the id takes it. ``claimed`` marks an origin that is trusted, on a channel that is not: it counts as untrusted.
    ``carries`` marks rows with features of their own (in ``x``; ``scores`` NaN where there were none).
    ``key`` is the hash of the id, ``digest`` that of id, label, origin and trust: the same statement again.
    """

    model: str
    id: Strings
    ts: Floats
    label: Strings
    origin: Strings
    source: Strings
    trusted: Bools
    claimed: Bools
    named: Bools
    carries: Bools
    x: Floats
    scores: Floats
    key: Hashes
    digest: Hashes
    partition: Ints
    offset: Ints


class FeedbackDecoder:
    """Decodes chunks of feedback.

    ``trusted_origins`` has an entry for every configured model (empty where nobody is believed). ``serving`` is asked
    only where events carry features.
    """

    def __init__(
        self,
        trusted_origins: Mapping[str, frozenset[str]],
        serving: ServingLookup,
        hash_key: bytes,
        limits: DecodeLimits,
    ) -> None:
        self._trusted_origins = trusted_origins
        self._serving = serving
        self._hash = KeyedHash(hash_key)
        self._envelopes = EnvelopeReader(FeedbackEvent, limits)

    def decode(self, chunk: Chunk, partition_index: int) -> tuple[list[Feedback], list[Reject]]:
        """Feedback by model; and what cannot be read, by offset.

        Every message is a reject, or a row of the model that it names, or where it names none and there are several
        models a row of each.
        """
        messages, rejects = self._envelopes.read(chunk)
        groups: dict[str, list[Message[FeedbackEvent]]] = {}
        models = list(self._trusted_origins)
        for message in messages:
            named = message.event.model
            if named and named not in self._trusted_origins:
                detail = f"model {named!r} is not configured"
                rejects.append(self._envelopes.reject(message, "unknown_model", detail))
                continue
            for model in [named] if named else models:
                groups.setdefault(model, []).append(message)
        found = []
        for model, members in groups.items():
            carried, kept = self._carried(model, members, rejects)
            if kept:
                found.append(self._columns(model, kept, carried, chunk.role, partition_index))
        return found, sorted(rejects, key=lambda r: r.offset)

    def _carried(
        self, model: str, messages: Sequence[Message[FeedbackEvent]], rejects: list[Reject]
    ) -> tuple[_Carried, list[Message[FeedbackEvent]]]:
        served = self._serving(model) if any(map(_carries, messages)) else None
        if served is None:
            return _Carried.nothing(len(messages)), list(messages)
        reader = SchemaReader(served)
        kept, parts = [], []
        for message in messages:
            try:
                # without a name the features may be another model's
                readable = message.event.model or len(self._trusted_origins) == 1
                parts.append(_read(reader, message.event if readable else None))
            except UnreadableError as why:
                rejects.append(self._envelopes.reject(message, why.reason, why.detail))
                continue
            kept.append(message)
        return (_Carried.concat(parts) if parts else _Carried.nothing(0)), kept

    def _columns(
        self,
        model: str,
        messages: Sequence[Message[FeedbackEvent]],
        carried: _Carried,
        role: Literal["inference", "feedback", "trusted"],
        partition_index: int,
    ) -> Feedback:
        events = [m.event for m in messages]
        believable = np.array([e.origin in self._trusted_origins[model] for e in events], dtype=np.bool_)
        guarded = np.bool_(role == "trusted")
        trusted = believable & guarded
        ids = [e.id for e in events]
        statements = [(e.id, e.label, e.origin, str(t)) for e, t in zip(events, trusted.tolist(), strict=True)]
        return Feedback(
            model=model,
            id=strings(ids),
            ts=np.array([m.ts for m in messages], dtype=np.float64),
            label=strings([e.label for e in events]),
            origin=strings([e.origin for e in events]),
            source=strings([e.source or NO_SOURCE for e in events]),
            trusted=trusted,
            claimed=believable & ~guarded,
            named=np.array([bool(e.model) for e in events], dtype=np.bool_),
            carries=carried.carries,
            x=carried.x,
            scores=carried.scores,
            key=self._hash.texts(ids),
            digest=self._hash.tuples(statements),
            partition=np.full(len(messages), partition_index, dtype=np.int64),
            offset=np.array([m.offset for m in messages], dtype=np.int64),
        )


@dataclass(frozen=True, slots=True)
class _Carried(Columns):
    """Features and scores that came with feedback."""

    carries: Bools
    x: Floats
    scores: Floats

    @classmethod
    def nothing(cls, rows: int, features: int = 0, classes: int = 0) -> _Carried:
        return cls(np.zeros(rows, dtype=np.bool_), np.full((rows, features), np.nan), np.full((rows, classes), np.nan))


def _carries(message: Message[FeedbackEvent]) -> bool:
    return message.event.features not in _ABSENT


def _read(reader: SchemaReader, event: FeedbackEvent | None) -> _Carried:
    """One row: what the event carries, or missing values."""
    schema = reader.served.schema
    if event is None or event.features in _ABSENT:
        return _Carried.nothing(1, len(schema.features), len(schema.classes))
    x = reader.x([reader.features(event.features)])
    scores = np.full((1, len(schema.classes)), np.nan)
    if event.scores not in _ABSENT:
        scores = np.array([reader.scores(event.scores)], dtype=np.float64)
        if not reader.check(scores).all():
            raise reader.why(scores[0])
    return _Carried(np.ones(1, dtype=np.bool_), x, scores)
