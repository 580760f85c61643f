"""River's ADWIN on means of blocks of sessions: latched, and restorable from what it saw."""

from __future__ import annotations

from typing import Any

import numpy as np
from river.drift import ADWIN

from detectors.batch import Floats
from detectors.evidence import State


class LatchedAdwin:
    """ADWIN (Bifet & Gavalda 2007) on means of ``block`` votes, whatever the windows are: delta is per value.

    Null: votes of constant mean. It fires falsely with probability ``delta`` at most (River's bound) per value. Small
    blocks serve best: the bound has a term in 1/(number of values) that is blind to how steady large blocks are.
    ``reference`` [n] votes come first; they set the scale (six standard deviations of a block mean, times
    ``dispersion``, are the unit interval) and can be the "before" of a change, but cannot fire. River resets itself on
    the update after a detection and cannot be saved: here ``fired`` latches, and a restored one is fed its history
    again, of which at most ``history`` means are kept.

    >>> rng = np.random.default_rng(0)
    >>> adwin = LatchedAdwin(rng.normal(0.3, 0.1, 2000), block=10, delta=1e-6)
    >>> adwin.update(rng.normal(0.3, 0.1, 3000)), adwin.update(rng.normal(0.4, 0.1, 800))
    (False, True)
    """

    def __init__(
        self, reference: Floats, block: int, delta: float, dispersion: float = 1.0, history: int = 4096
    ) -> None:
        self.fired = False
        self._block = block
        self._delta = min(0.5, delta)
        self._keep = history
        self._centre = float(reference.mean())
        self._width = max(6 * float(reference.std()) * float(np.sqrt(dispersion / block)), 1e-12)
        self._adwin = self._replay([])
        self._history: list[float] = []
        self._open = np.empty(0)
        self.update(reference)
        self.fired, self._open = False, np.empty(0)

    def update(self, votes: Floats) -> bool:
        """Take votes [m] in order; returns whether it ever fired."""
        waiting = np.concatenate([self._open, votes])
        whole = len(waiting) - len(waiting) % self._block
        for mean in waiting[:whole].reshape(-1, self._block).mean(axis=1).tolist():
            self._feed(mean)
        self._open = waiting[whole:]
        return self.fired

    def state(self) -> State:
        """What `update` has changed."""
        return {"fired": self.fired, "history": list(self._history), "open": self._open.copy()}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self.fired = bool(state["fired"])
        self._history = [float(v) for v in state["history"]]
        self._open = np.array(state["open"], np.float64)
        self._adwin = self._replay(self._history)

    def _feed(self, mean: float) -> None:
        if len(self._history) >= self._keep:  # for all alike, so that a restored one goes on as this one does
            self._history = self._history[len(self._history) // 2 :]
            self._adwin = self._replay(self._history)
        value = min(max(0.5 + (mean - self._centre) / self._width, 0.0), 1.0)
        self._history.append(value)
        self._adwin.update(value)
        self.fired |= bool(self._adwin.drift_detected)

    def _replay(self, history: list[float]) -> Any:
        adwin: Any = ADWIN(delta=self._delta, clock=1)  # type: ignore[no-untyped-call]  # River has no types
        for value in history:
            adwin.update(value)
        return adwin
