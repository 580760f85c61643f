"""How null streams are made and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Floats
from detectors.evidence import Budget

EVENTS: Final = 1000
"""Events in a window."""


@dataclass(frozen=True, slots=True)
class Law:
    """How a stream is made: mean events in a session (geometric), their correlation, sessions in the reference.

    ``churn`` is the share of events on which an honest retrain changed the class; ``coarse``: its scores take few
    values.
    """

    mean_session: int
    correlation: float
    sessions: int
    churn: float
    coarse: bool

    @property
    def votes(self) -> int:
        """Sessions in a window; looked at after 200 where there are more."""
        return min(200, max(20, EVENTS // self.mean_session))


@dataclass(slots=True)
class Crossings:
    """How often streams crossed their budgets."""

    votes: int = 0
    alarms: int = 0
    requests: int = 0
    bad: int = 0
    """Streams (references) that raised at least one alarm."""


Core = Callable[[np.random.Generator, Law, int, int, Budget], Crossings]
"""(rng, law, streams, votes in each, budget) -> crossings."""


class Counter:
    """Counts crossings of ``streams`` streams, whose statistic is the mean of ``width`` (weighted) e-detectors.

    It is given the logs twice, first the copy that begins anew at alarms, then the one that does at requests.
    """

    def __init__(self, streams: int, budget: Budget, width: int, weights: Floats | None = None) -> None:
        self.crossings = Crossings()
        share = np.ones(width) if weights is None else weights
        self._weights = share / share.sum()
        self._width, self._limits = width, np.repeat(np.log([budget.alarm, budget.ask]), streams)
        self._streams, self._alarmed = streams, np.zeros(streams, bool)

    def see(self, log_r: Floats, votes: int) -> np.ndarray:
        """Takes logs [2 * streams * width] after ``votes`` more votes of each; returns who crossed [2 * streams]."""
        logs = log_r.reshape(-1, self._width)
        top = np.maximum(logs.max(axis=1), -1e3)
        with np.errstate(divide="ignore"):
            total = top + np.log(np.exp(logs - top[:, None]) @ self._weights)
        crossed = total >= self._limits
        self.crossings.votes += votes * self._streams
        self.crossings.alarms += int(crossed[: self._streams].sum())
        self.crossings.requests += int(crossed[self._streams :].sum())
        self._alarmed |= crossed[: self._streams]
        self.crossings.bad = int(self._alarmed.sum())
        return np.asarray(crossed, np.bool_)
