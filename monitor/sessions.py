"""One session, one vote: a flood of events of one session must not look like many independent observations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detectors.batch import Batch, Bools
from detectors.evidence import State
from monitor.hashes import KeyedHash, RecentHashes
from monitor.state.state_codec import Segment


class SessionLedger:
    """Which sessions of one model version have voted, over at least the last ``horizon`` sessions.

    A session may vote again after ``rest`` windows at the earliest, twice as many at the latest: where sessions are
    hosts that never end, nobody would ever vote again otherwise. Sessions of different sources are different.
    """

    def __init__(self, horizon: int, hash_key: bytes, rest: int = 100) -> None:
        self._hash = KeyedHash(hash_key)
        self._horizon = horizon
        self._rest = rest
        self._windows = 0
        self._voted, self._before = RecentHashes(horizon), RecentHashes(horizon)

    def fresh(self, batch: Batch) -> Bools:
        """True for the events of sessions that no earlier window held; to be called once for each closed window."""
        pairs = list(zip(batch.source.tolist(), batch.session.tolist(), strict=True))
        row_of = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
        if self._windows == self._rest:
            self._before, self._voted, self._windows = self._voted, RecentHashes(self._horizon), 0
        self._windows += 1
        hashes = self._hash.tuples(row_of)
        new = ~self._before.seen(hashes)
        new[new] = self._voted.add(hashes[new])
        rows = np.array([row_of[pair] for pair in pairs], dtype=np.int64)
        return new[rows]

    def state(self, put: Callable[[State], Segment]) -> State:
        """For the checkpoint: full segments are ``put``, once each; the rest is in the state."""
        return {"windows": self._windows, "voted": self._voted.state(put), "before": self._before.state(put)}

    def restore(self, state: State, get: Callable[[Segment], State]) -> None:
        """Take back what `state` gave."""
        self._windows = state["windows"]
        self._voted.restore(state["voted"], get)
        self._before.restore(state["before"], get)
