"""Labels that contradict the model, as claims to be checked, and what trusted labellers answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.batch import Columns, Floats, Ints, Labels, Strings
from detectors.evidence import State


@dataclass(frozen=True, slots=True)
class Claims(Columns):
    """Contradicting labels, one a session: ``label`` is claimed, ``g_class`` predicted; ``slots`` are their scopes."""

    id: Strings
    session: Strings
    source: Strings
    origin: Strings
    label: Ints
    g_class: Ints
    strength: Floats
    slots: Ints

    @staticmethod
    def none(families: int) -> Claims:
        """No claims."""
        text, number = np.zeros(0, "<U1"), np.zeros(0, np.int64)
        slots = np.zeros((0, families), np.int64)
        return Claims(text, text.copy(), text.copy(), text.copy(), number, number.copy(), np.zeros(0), slots)

    def joined(self, new: Claims, size: int) -> Claims:
        """The ``size`` latest of both."""
        both = Claims.concat([self, new])
        return both.take(slice(max(len(both) - size, 0), None))

    def state(self) -> State:
        """The columns, for a checkpoint."""
        return {name: getattr(self, name).copy() for name in self.arrays()}

    @staticmethod
    def restored(state: State) -> Claims:
        """The claims that `state` described."""
        return Claims(**{name: np.array(column) for name, column in state.items()})


class Verdicts:
    """Was the claimed label false? A ledger of trusted answers, one a session.

    Log likelihood ratio of an answer, rho = share of the contradictions that are beyond honest noise: claim false
    ln((.5 (1-rho) + .9 rho) / (.5 (1-rho) + .1 rho)), claim true the same upside down.
    """

    def __init__(self, false_poisoned: float, false_honest: float, most: int) -> None:
        self._poisoned, self._honest, self._most = false_poisoned, false_honest, most
        self._false: dict[str, bool] = {}

    @property
    def sessions(self) -> set[str]:
        """The sessions that have been answered for."""
        return set(self._false)

    def take(self, claims: Claims, labels: Labels) -> None:
        """Enter trusted labels of events about which there is a claim."""
        claimed = dict(zip(claims.id.tolist(), range(len(claims)), strict=True))
        for i in np.flatnonzero(labels.trusted).tolist():
            claim = claimed.get(str(labels.id[i]))
            if claim is None or len(self._false) >= self._most:
                continue
            self._false.setdefault(str(claims.session[claim]), int(labels.label[i]) != int(claims.label[claim]))

    def judged(self, rho: float) -> tuple[float, int, int]:
        """Log likelihood ratio of poisoning against honest change, number of answers, how many claims were false."""
        false = sum(self._false.values())
        noise = 0.5 * (1 - rho)
        poisoned, honest = noise + self._poisoned * rho, noise + self._honest * rho
        of_false, of_true = np.log(poisoned / honest), np.log((1 - poisoned) / (1 - honest))
        return float(false * of_false + (len(self._false) - false) * of_true), len(self._false), false

    def state(self) -> State:
        """What `take` has changed."""
        return {"sessions": list(self._false), "false": list(self._false.values())}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._false = {str(s): bool(f) for s, f in zip(state["sessions"], state["false"], strict=True)}
