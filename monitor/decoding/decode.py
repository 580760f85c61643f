"""Inference events to columns. No object per event outlives the call; one bad event does not spoil the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

import numpy as np

from detectors.batch import Batch, Floats, Strings
from monitor.decoding.diagnose import CONTROL
from monitor.decoding.envelope import DecodeLimits, EnvelopeReader, InferenceEvent, Message
from monitor.decoding.reader import Row, SchemaReader, Served
from monitor.decoding.reject import NO_SOURCE, Reject, UnreadableError
from monitor.hashes import KeyedHash
from monitor.sources.source import Chunk

Lookup: TypeAlias = Callable[[str, str], Served | Literal["unknown_model", "unknown_version"]]
"""(model, version) -> how to read its events, or the reason for which they cannot be read."""

REF_LIMIT: Final = 512
"""Characters of ``ref`` that are kept; it is for a person and never scored."""
SESSION_SECONDS: Final = 60
_READERS: Final = 64


class InferenceDecoder:
    """Decodes chunks of inference events.

    ``lookup`` is asked once for each model version in a chunk, so a version that has just been added is seen at once.
    """

    def __init__(self, lookup: Lookup, hash_key: bytes, limits: DecodeLimits) -> None:
        self._lookup = lookup
        self._hash = KeyedHash(hash_key)
        self._envelopes = EnvelopeReader(InferenceEvent, limits)
        self._readers: dict[tuple[str, str], SchemaReader] = {}
        self._latest: SchemaReader | None = None

    def decode(self, chunk: Chunk, partition_index: int) -> tuple[list[Batch], list[Reject]]:
        """Batches, one for each model version, rows in the chunk's order; and what cannot be read, by offset.

        Every message is in exactly one of the two.
        """
        guessed = self._latest  # most streams are of one version: reading its events in one go is faster
        messages, rejects = self._envelopes.read(chunk, guessed.guess if guessed else None)
        batches = []
        for (model, version), members in _by_version(messages).items():
            served = self._lookup(model, version)
            if isinstance(served, str):
                detail = f"model {model!r}, version {version!r}: not configured or not in the registry"
                rejects += [self._envelopes.reject(m, served, detail) for m in members]
                continue
            reader = self._latest = self._reader(model, version, served)
            if reader is not guessed:
                members = [self._envelopes.again(m) for m in members]  # noqa: PLW2901 - the same messages
            batch = self._batch(reader, members, partition_index, rejects)
            if batch is not None:
                batches.append(batch)
        return batches, sorted(rejects, key=lambda r: r.offset)

    def reader(self, model: str, version: str) -> SchemaReader | None:
        """The reader of a version that was decoded lately: its counts of unseen values and absent features."""
        return self._readers.get((model, version))

    def _reader(self, model: str, version: str, served: Served) -> SchemaReader:
        reader = self._readers.get((model, version))
        if reader is None or (reader.served is not served and reader.served != served):
            while len(self._readers) >= _READERS:
                self._readers.pop(next(iter(self._readers)))
            reader = self._readers[model, version] = SchemaReader(served)
        return reader

    def _batch(
        self,
        reader: SchemaReader,
        messages: Sequence[Message[InferenceEvent]],
        partition_index: int,
        rejects: list[Reject],
    ) -> Batch | None:
        kept: list[Message[InferenceEvent]] = []
        rows: list[Row] = []
        probabilities: list[Row] = []
        for message in messages:
            try:
                row, scores = reader.features(message.event.features), reader.scores(message.event.scores)
            except UnreadableError as why:
                rejects.append(self._envelopes.reject(message, why.reason, why.detail))
                continue
            kept.append(message)
            rows.append(row)
            probabilities.append(scores)
        served = np.array(probabilities, dtype=np.float64).reshape(len(kept), len(reader.served.schema.classes))
        good = reader.check(served)
        if not good.all():
            for i in np.flatnonzero(~good).tolist():
                wrong = reader.why(served[i])
                rejects.append(self._envelopes.reject(kept[i], wrong.reason, wrong.detail))
            chosen = np.flatnonzero(good).tolist()
            kept, rows, served = [kept[i] for i in chosen], [rows[i] for i in chosen], served[good]
        return self._columns(kept, reader.x(rows), served, partition_index) if kept else None

    def _columns(
        self, messages: Sequence[Message[InferenceEvent]], x: Floats, scores: Floats, partition_index: int
    ) -> Batch:
        ids = [m.event.id for m in messages]
        sources = [m.event.source or NO_SOURCE for m in messages]
        sessions = [
            f"{source}/{m.event.session}" if m.event.session else f"{source}@{int(m.ts // SESSION_SECONDS)}"
            for m, source in zip(messages, sources, strict=True)
        ]
        return Batch(
            model=messages[0].event.model,
            version=messages[0].event.version,
            ts=np.array([m.ts for m in messages], dtype=np.float64),
            id=strings(ids),
            source=strings(sources),
            session=strings(sessions),
            ref=strings([_clean(m.event.ref) if m.event.ref else "" for m in messages]),
            x=x,
            scores=scores,
            partition=np.full(len(messages), partition_index, dtype=np.int64),
            offset=np.array([m.offset for m in messages], dtype=np.int64),
            key=self._hash.texts(ids),
            digest=self._hash.many([m.value for m in messages]),
        )


def _by_version(
    messages: Sequence[Message[InferenceEvent]],
) -> dict[tuple[str, str], Sequence[Message[InferenceEvent]]]:
    """The messages of each (model, version), which is most often one."""
    versions = {(m.event.model, m.event.version) for m in messages}
    if len(versions) == 1:
        return {versions.pop(): messages}
    groups: dict[tuple[str, str], list[Message[InferenceEvent]]] = {}
    for message in messages:
        groups.setdefault((message.event.model, message.event.version), []).append(message)
    return {**groups}


def strings(values: Sequence[str]) -> Strings:
    """A column of text, also where it has no rows."""
    return np.array(values, dtype=np.str_)


def _clean(ref: str) -> str:
    return CONTROL.sub("�", ref[:REF_LIMIT])
