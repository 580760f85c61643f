"""The last sessions of a stream, for a closer look at what a few windows could not show."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats, Ints
from detectors.evidence import State

_MOST_ROWS: Final = 2000
_MOST_VALUES: Final = 500_000  # what is held grows neither with the stream nor with the number of features


class RecentSessions:
    """One event a session, x[n, d], and its scope; the oldest go first.

    >>> recent = RecentSessions(2)
    >>> recent.add(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 2]))
    >>> recent.of(2, 10).tolist(), recent.of(0, 1).tolist()
    ([[3.0, 4.0]], [[3.0, 4.0]])
    """

    def __init__(self, d: int) -> None:
        self._most = min(_MOST_ROWS, max(_MOST_VALUES // max(d, 1), 100))
        self._x = np.zeros((0, d))
        self._scope = np.zeros(0, np.int64)

    def add(self, x: Floats, scope: Ints) -> None:
        """Take a window's sessions."""
        self._x = np.concatenate([self._x, x])[-self._most :]
        self._scope = np.concatenate([self._scope, scope])[-self._most :]

    def of(self, scope: int, last: int) -> Floats:
        """The last so many of a scope (0: of all), in order."""
        rows = np.arange(len(self._x)) if scope == 0 else np.flatnonzero(self._scope == scope)
        return self._x[rows[-last:]] if last > 0 else self._x[:0]

    def state(self) -> State:
        """The sessions."""
        return {"x": self._x.copy(), "scope": self._scope.copy()}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._x, self._scope = np.array(state["x"], np.float64), np.array(state["scope"], np.int64)
