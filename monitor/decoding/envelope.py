"""From bytes to events, before features and scores are looked at: size, JSON, fields, text and time.

Duplicate JSON keys: the last one wins. Unknown fields are ignored. Features and scores stay undecoded (`msgspec.Raw`)
until the model version, and with it the schema, is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Generic, TypeAlias, TypeVar

import msgspec

from monitor.decoding.diagnose import CONTROL, MAX_TS, TEXT_LIMIT, Fields, explain
from monitor.decoding.reject import NO_SOURCE, Reason, Reject
from monitor.sources.source import Chunk

Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_LIMIT)]
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=TEXT_LIMIT)]
When: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)] | float

BAD_JSON: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""All that `msgspec.json.Decoder.decode` raises on hostile bytes."""


class InferenceEvent(msgspec.Struct, gc=False):
    """`tocsin.inference.v1` as it arrives."""

    id: Name
    ts: When
    model: Name
    version: Name
    features: msgspec.Raw
    scores: msgspec.Raw
    source: Text | None = None
    session: Text | None = None
    ref: str | None = None


class FeedbackEvent(msgspec.Struct, gc=False):
    """`tocsin.feedback.v1` as it arrives."""

    id: Name
    ts: When
    label: Name
    origin: Name
    model: Text | None = None
    features: msgspec.Raw = msgspec.Raw()
    scores: msgspec.Raw = msgspec.Raw()
    source: Text | None = None


FIELDS: Final[dict[type, Fields]] = {
    InferenceEvent: Fields(
        names=("id", "model", "version"), texts=("source", "session"), others=("ts", "features", "scores")
    ),
    FeedbackEvent: Fields(names=("id", "label", "origin"), texts=("model", "source"), others=("ts",)),
}

Event = TypeVar("Event", InferenceEvent, FeedbackEvent)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """``message_bytes``: larger messages are not parsed. ``excerpt_bytes``: how much of a reject is kept."""

    message_bytes: int = 1_000_000
    excerpt_bytes: int = 2048

    def __post_init__(self) -> None:
        if self.message_bytes < 1 or self.excerpt_bytes < 0:
            raise ValueError(f"limits must be positive: {self}")


class Message(msgspec.Struct, Generic[Event], frozen=True, gc=False):
    """A message whose envelope is right; ``ts`` in seconds since the epoch."""

    offset: int
    value: bytes
    ts: float
    event: Event


class EnvelopeReader(Generic[Event]):
    """Reads messages of one kind: ``event`` is `InferenceEvent` or `FeedbackEvent`."""

    def __init__(self, event: type[Event], limits: DecodeLimits) -> None:
        self._decode: Callable[[bytes], Event] = msgspec.json.Decoder(event).decode
        self._fields = FIELDS[event]
        self._limits = limits

    def read(
        self, chunk: Chunk, guess: Callable[[bytes], Event] | None = None
    ) -> tuple[list[Message[Event]], list[Reject]]:
        """Every message of the chunk, in one of the two lists.

        ``guess`` decodes to a stricter kind of the event; where it fails, the message is read as without it.
        """
        messages: list[Message[Event]] = []
        rejects: list[Reject] = []
        decode = self._decode if guess is None else _first_of(guess, self._decode)
        largest = self._limits.message_bytes
        for offset, value in zip(chunk.offsets, chunk.values, strict=True):
            try:
                if not 0 < len(value) <= largest:
                    rejects.append(self._of_wrong_size(offset, value))
                    continue
                event = decode(value)
                ts = event.ts.timestamp() if isinstance(event.ts, datetime) else event.ts
            except BAD_JSON as error:
                rejects.append(self.explained(offset, value, error))
                continue
            # only a backslash can bring a control character into a JSON string
            if not 0 <= ts <= MAX_TS or (b"\\" in value and self._has_control(event)):
                rejects.append(self.explained(offset, value, None))
                continue
            messages.append(Message(offset, value, ts, event))
        return messages, rejects

    def again(self, message: Message[Event]) -> Message[Event]:
        """The message as it is read without a guess."""
        return Message(message.offset, message.value, message.ts, self._decode(message.value))

    def reject(self, message: Message[Event], reason: Reason, detail: str) -> Reject:
        """A reject of a message whose envelope was right."""
        return self._reject(message.offset, message.value, reason, message.event.source, detail)

    def explained(self, offset: int, value: bytes, error: Exception | None) -> Reject:
        """A reject with the reason that a slow second look finds."""
        reason, source, detail = explain(value, self._fields, error)
        return self._reject(offset, value, reason, source, detail)

    def _has_control(self, event: Event) -> bool:
        names = (*self._fields.names, *self._fields.texts)
        return any(CONTROL.search(getattr(event, name) or "") for name in names)

    def _of_wrong_size(self, offset: int, value: bytes) -> Reject:
        if not value:
            return self._reject(offset, value, "empty", None, "the message is empty (a tombstone)")
        detail = f"{len(value)} bytes; at most {self._limits.message_bytes} are read"
        return self._reject(offset, value, "too_large", None, detail)

    def _reject(self, offset: int, value: bytes, reason: Reason, source: str | None, detail: str) -> Reject:
        named = (source or NO_SOURCE)[:TEXT_LIMIT]
        return Reject(offset, reason, named, detail[:TEXT_LIMIT], value[: self._limits.excerpt_bytes])


def _first_of(guess: Callable[[bytes], Event], otherwise: Callable[[bytes], Event]) -> Callable[[bytes], Event]:
    def decode(value: bytes) -> Event:
        try:
            return guess(value)
        except BAD_JSON:
            return otherwise(value)

    return decode
