"""One session, one vote: a flood of events of one session must not look like many independent observations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detectors.batch import Batch, Bools
from detectors.evidence import State
from monitor.hashes import KeyedHash, RecentHashes
from monitor.state_codec import Segment


class SessionLedger:
    """Which sessions of one model version have voted, over at least the last ``horizon`` sessions.

    A session that is forgotten may vote again. Sessions of different sources are different.
    """

    def __init__(self, horizon: int, hash_key: bytes) -> None:
        self._hash = KeyedHash(hash_key)
        self._voted = RecentHashes(horizon)

    def fresh(self, batch: Batch) -> Bools:
        """True for the events of sessions that no earlier window held; to be called once for each closed window."""
        pairs = list(zip(batch.source.tolist(), batch.session.tolist(), strict=True))
        row_of = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
        new = self._voted.add(self._hash.tuples(row_of))
        rows = np.array([row_of[pair] for pair in pairs], dtype=np.int64)
        return new[rows]

    def state(self, put: Callable[[State], Segment]) -> State:
        """For the checkpoint: full segments are ``put``, once each; the rest is in the state."""
        return self._voted.state(put)

    def restore(self, state: State, get: Callable[[Segment], State]) -> None:
        """Take back what `state` gave."""
        self._voted.restore(state, get)
