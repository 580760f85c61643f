"""Evidence of change that adds up over windows, for every source and feature, and since when it does."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats
from detectors.evidence import State
from detectors.faults.scan import STAKES, FaultScan, Scan
from detectors.nulls.block_null import WindowRuns

_FROZEN: Final = 0.25


class FaultRuns:
    """R = e (v + R) (`WindowRuns`) for each stake, scope and column of a `FaultScan`.

    Weights sum to one: half on all sources together, half on the sources; features alike; a quarter on being frozen,
    the rest on the other columns alike; stakes alike. A weighted sum of some of the runs stays below that of all, so
    what leaves runs out alarms no more often.
    """

    def __init__(self, scan: FaultScan, scopes: int) -> None:
        self._feature = scan.feature
        self._d = int(self._feature.max()) + 1
        self._shape = (len(STAKES), scopes, len(self._feature))
        self._runs = WindowRuns(int(np.prod(self._shape)))
        self._age = np.zeros(self._shape[1:], np.int64)
        self._votes = np.ones(scopes)
        self._starts = scan.columns.starts
        self._own = ~scan.columns.conditional
        per_scope = np.array([0.5, *[0.5 / max(scopes - 1, 1)] * (scopes - 1)])
        columns = np.bincount(self._feature[: -self._d], minlength=self._d)[self._feature]
        of_feature = (1 - _FROZEN) / columns
        of_feature[-self._d :] = _FROZEN
        self._sum: Floats | None = None  # of `evidence`, until the runs change
        self._log_weight = np.log(per_scope[:, None] * of_feature / (self._d * len(STAKES)))

    def update(self, scan: Scan) -> None:
        """Take a window."""
        votes = np.broadcast_to(scan.votes[None, :, None], self._shape)
        log_r = self._runs.update(scan.log_e.ravel(), votes.ravel()).reshape(self._shape).max(axis=0)
        now = scan.votes[:, None].astype(np.int64)
        # a run that has not grown beyond what it would be if it began now has no past
        grown = log_r > np.log(np.maximum(scan.votes[:, None], 1.0))
        self._age = np.where(grown, self._age + now, np.where(now > 0, 0, self._age))
        self._votes = np.where(scan.votes > 0, scan.votes, self._votes)
        self._sum = None

    def evidence(self) -> Floats:
        """Log of the weighted sum of runs by scope and feature [scopes, d]."""
        if self._sum is None:
            log_r = self._log_r()
            by_column = np.logaddexp.reduce(log_r, axis=0) + self._log_weight
            of_values = np.logaddexp.reduceat(by_column[:, : -self._d], self._starts, axis=1)
            self._sum = np.logaddexp(of_values, by_column[:, -self._d :])
        return self._sum

    def movement(self) -> tuple[Floats, Floats]:
        """By how much each feature has moved, in nats, by scope [scopes, d]: in all columns, and by itself alone.

        Conditional columns also move when another feature did.
        """
        best = self._log_r().max(axis=0)
        alone = np.where(self._own, best[:, : -self._d], -np.inf)
        in_all, by_itself = (
            np.maximum(np.maximum.reduceat(columns, self._starts, axis=1), best[:, -self._d :])
            for columns in (best[:, : -self._d], alone)
        )
        begun = np.log(self._votes)[:, None]
        return np.maximum(in_all - begun, 0.0), np.maximum(by_itself - begun, 0.0)

    def age(self, scope: int, feature: int) -> int:
        """Votes since the strongest run of a scope and feature began."""
        own = np.flatnonzero(self._feature == feature)
        best = own[np.argmax(self._log_r()[:, scope, own].max(axis=0))]
        return int(self._age[scope, best])

    def forget(self, feature: int) -> None:
        """Begin the runs of a feature anew, at all sources."""
        log_r = self._log_r()
        log_r[:, :, self._feature == feature] = -np.inf
        self._runs.log_r = log_r.ravel()
        self._sum = None
        self._age[:, self._feature == feature] = 0

    def _log_r(self) -> Floats:
        return self._runs.log_r.reshape(self._shape).copy()

    def state(self) -> State:
        """What `update` has changed."""
        return {"runs": self._runs.state(), "age": self._age.copy(), "votes": self._votes.copy()}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._runs.restore(state["runs"])
        self._sum = None
        self._age, self._votes = np.array(state["age"], np.int64), np.array(state["votes"], np.float64)
