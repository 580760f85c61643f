"""Votes of sessions, over all and source by source: a burst at one sensor is too small for the whole to see."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats, Strings
from detectors.evidence import State
from detectors.sequential import RateMonitor, cautious_bounds, log_mean, upper_bound

_ALL: Final = 0.5  # weight of the scope of all sources; the others share the rest
_SPARE: Final = 4  # slots for sources that the reference does not have


class SourceScopes:
    """`sequential.RateMonitor` on m kinds of votes in every scope: all sessions, and those of each source.

    Null: a kind's rate is at most its Clopper-Pearson bound on the reference; a source whose own rate, shrunk to that
    of all with the weight of ``prior`` sessions, is higher has that one. Sources take slots as they appear, those of
    the reference first; what finds none free counts in the whole only.
    """

    def __init__(self, votes: Floats, source: Strings, most: int, prior: float, level: float) -> None:
        names, counts = np.unique(source, return_counts=True)
        known: list[str] = names[np.argsort(-counts, kind="stable")].tolist()[:most]
        bounds = cautious_bounds(votes.sum(axis=0), len(votes), level)
        self._base: Floats = bounds[0]
        self._cautious: Floats = bounds[1]
        mean = votes.mean(axis=0)
        rates = [self._base]
        for name in known:
            own = votes[source == name]
            rates.append(np.maximum(self._base, (own.sum(axis=0) + prior * mean) / (len(own) + prior)))
        self._names = known + [""] * _SPARE
        self._null = np.stack(rates + [self._base] * _SPARE)
        self._null = np.clip(self._null, 1e-6, 1.0)
        share = (1 - _ALL) / len(self._names)
        self._weights = np.repeat([_ALL, *([share] * len(self._names))], votes.shape[1]) / votes.shape[1]
        self._raised = self._null.copy()
        self.begin()

    @property
    def null(self) -> Floats:
        """Null rates [m] of all."""
        return self._base

    def begin(self) -> None:
        """Forget all bets."""
        cautious = np.maximum(self._raised, self._cautious)
        self._monitor = RateMonitor(np.stack([self._raised.ravel(), cautious.ravel()]))
        self._seen = np.zeros(len(self._raised))
        self._hits = np.zeros(self._raised.shape)

    def update(self, votes: Floats, source: Strings, scale: Floats) -> None:
        """Take the votes [n, m] of n sessions in order; ``scale`` [n, m] raises the null of single votes."""
        names: list[str] = source.tolist()
        slot = {name: self._slot(name) for name in dict.fromkeys(names)}
        slots = np.array([slot[name] for name in names], np.int64)
        n, m = votes.shape
        spread = np.full((n, len(self._names) + 1, m), np.nan)
        spread[:, 0] = votes
        rows = np.flatnonzero(slots >= 0)
        spread[rows, slots[rows] + 1] = votes[rows]
        scales = np.broadcast_to(scale[:, None], spread.shape).reshape(n, -1)
        self._monitor.update(spread.reshape(n, -1), scales)
        self._seen += (~np.isnan(spread[:, :, 0])).sum(axis=0)
        self._hits += np.nansum(spread, axis=0)

    def _slot(self, name: str) -> int:
        if name not in self._names:
            if "" not in self._names:
                return -1
            self._names[self._names.index("")] = name
        return self._names.index(name)

    @property
    def log_e(self) -> float:
        """Log of the mean of all bets."""
        return log_mean(self._monitor.log_r, self._weights)

    def top(self) -> str | None:
        """The source whose bets are ahead of those of the whole, if there is one."""
        best = self._monitor.log_r.reshape(self._null.shape).max(axis=1)
        at = int(np.argmax(best))
        return self._names[at - 1] if at else None

    def loud(self, threshold: float) -> list[tuple[str, float]]:
        """Sources whose own bets reached ``threshold``, with their logs, loudest first."""
        best = self._monitor.log_r.reshape(self._null.shape).max(axis=1)[1:]
        order = np.argsort(-best, kind="stable").tolist()
        return [(self._names[i], float(best[i])) for i in order if best[i] >= np.log(threshold)]

    def settle(self, level: float) -> None:
        """What was seen since `begin` is honest: rates rise to its bound, bets begin anew."""
        seen = np.maximum(self._seen, 1.0)[:, None]
        bound = upper_bound(np.minimum(self._hits, seen), seen, level)
        self._raised = np.where(self._seen[:, None] > 0, np.maximum(self._raised, bound), self._raised)
        self.begin()

    def state(self) -> State:
        """Bets, slots and what is settled."""
        return {
            "names": list(self._names),
            "raised": self._raised.copy(),
            "monitor": self._monitor.state(),
            "seen": self._seen.copy(),
            "hits": self._hits.copy(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._names = [str(n) for n in state["names"]]
        self._raised = np.array(state["raised"], np.float64)
        self.begin()
        self._monitor.restore(state["monitor"])
        self._seen, self._hits = np.array(state["seen"], np.float64), np.array(state["hits"], np.float64)
