"""Messages to the events that are hunted: of the wanted versions and time, each once; everything else is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from detectors.batch import Batch
from monitor.decoding.decode import InferenceDecoder
from monitor.decoding.envelope import DecodeLimits
from monitor.decoding.reader import Served
from monitor.dedup import Deduplicator
from monitor.hunting.compared import Compared
from monitor.sources.source import Chunk

REPEAT_HORIZON: Final = 500_000
"""Repeats that lie further apart, in hunted events, are counted twice."""
ELSEWHERE: Final = {"unknown_model": "other_model", "unknown_version": "other_version"}


@dataclass(frozen=True, slots=True)
class Scope:
    """Events of ``model`` with event time from ``start`` on and before ``end``, in seconds since the epoch."""

    model: str
    start: float
    end: float

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError(f"a hunt begins before its end, not at {self.start:.0f} for {self.end:.0f}")


class EventReader:
    """Decodes chunks of inference events; ``key`` is of the hashes by which repeats are known.

    ``counts``: messages, repeats, conflicts, other_model, other_version, outside; ``unreadable`` by reason.
    """

    def __init__(self, scope: Scope, versions: Mapping[str, Compared], key: bytes) -> None:
        self._scope = scope
        self._read = {v: Served(c.schema, c.simplex) for v, c in versions.items()}
        self._decoder = InferenceDecoder(self._lookup, key, DecodeLimits())
        self._repeats = Deduplicator(REPEAT_HORIZON, key)
        self.counts: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()

    def events(self, chunk: Chunk) -> Iterator[Batch]:
        """The chunk's events that are hunted, by version."""
        self.counts["messages"] += len(chunk.offsets)
        batches, rejects = self._decoder.decode(chunk, 0)
        for reject in rejects:
            if reject.reason in ELSEWHERE:
                self.counts[ELSEWHERE[reject.reason]] += 1
            else:
                self.unreadable[reject.reason] += 1
        for batch in batches:
            inside = (batch.ts >= self._scope.start) & (batch.ts < self._scope.end)
            self.counts["outside"] += len(batch) - int(np.count_nonzero(inside))
            once = self._repeats.filter(batch if inside.all() else batch.take(inside))
            self.counts["repeats"] += once.repeats
            self.counts["conflicts"] += once.conflicts
            if len(once.batch):
                yield once.batch

    def _lookup(self, model: str, version: str) -> Served | Literal["unknown_model", "unknown_version"]:
        if model != self._scope.model:
            return "unknown_model"
        return self._read.get(version, "unknown_version")
