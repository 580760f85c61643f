"""Drops events that were seen already: at-least-once producers repeat, and an id is whatever its sender says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from detectors.batch import Batch, Hashes
from detectors.evidence import State
from monitor.hashes import KeyedHash, RecentHashes
from monitor.state.state_codec import Segment


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """``batch`` without repeats.

    ``repeats``: same id and content, dropped. ``conflicts``: same id, other content, kept and marked ``repeated``.
    """

    batch: Batch
    repeats: int
    conflicts: int


class Deduplicator:
    """Looks back over the last ``horizon`` events of all models together; a repeat that is later counts as new.

    The same id may be scored by several versions (a shadow deployment): that is neither a repeat nor a conflict.
    """

    def __init__(self, horizon: int, hash_key: bytes) -> None:
        self._hash = KeyedHash(hash_key)
        self._ids = RecentHashes(horizon)
        self._contents = RecentHashes(horizon)

    def filter(self, batch: Batch) -> Deduplicated:
        """The batch without repeats, also of events within the batch; the first one stays."""
        version = self._hash.tuples([(batch.model, batch.version)])
        ids = batch.key ^ version
        keep = self._contents.add(_mixed(ids, batch.digest))
        new = self._ids.add(ids[keep])
        repeats = len(batch) - int(keep.sum())
        kept = batch.take(keep) if repeats else batch
        return Deduplicated(replace(kept, repeated=~new), repeats, int((~new).sum()))

    def state(self, put: Callable[[State], Segment]) -> State:
        """For the checkpoint: full segments are ``put``, once each; the rest is in the state."""
        return {"ids": self._ids.state(put), "contents": self._contents.state(put)}

    def restore(self, state: State, get: Callable[[Segment], State]) -> None:
        """Take back what `state` gave."""
        self._ids.restore(state["ids"], get)
        self._contents.restore(state["contents"], get)


def _mixed(ids: Hashes, digests: Hashes) -> Hashes:
    """One hash of two: odd multiples keep it from being symmetric."""
    return ids * np.uint64(0x9E3779B97F4A7C15) ^ digests
