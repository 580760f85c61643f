"""Trusted labels of deep events: they say who is right where the serving model contradicts the last known good one."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Bools, Ints, Labels
from detectors.evidence import State
from detectors.itemsets import Itemset

DECISIVE: Final = float(np.log(20))
"""A log likelihood ratio from which on answers decide: 20 to 1 (four equal answers at the default probabilities)."""

_ENOUGH = 4  # carriers' answers from which on they decide alone
_MOST = 128  # answers kept


class Answers:
    """A ledger of answers, one a session, with log likelihood ratio of poisoning against honest change.

    f right: ln(p/h), f wrong (g right): ln((1-p)/(1-h)), with p and h the probabilities that f is right under
    poisoning and under honest change. Labels that make both wrong say nothing about the two and are counted apart.
    """

    def __init__(self, right_poisoned: float, right_honest: float, features: int) -> None:
        self._llr_right = float(np.log(right_poisoned / right_honest))
        self._llr_wrong = float(np.log((1 - right_poisoned) / (1 - right_honest)))
        self._x = np.zeros((0, features))
        self._toward: list[int] = []
        self._right: list[bool] = []
        self._sessions: list[str] = []
        self.neither = 0

    @property
    def sessions(self) -> set[str]:
        """The sessions that have been answered for."""
        return set(self._sessions)

    def take(self, labels: Labels, rows: Bools, f_class: Ints, g_class: Ints) -> None:
        """Enter the trusted ones of the labels in ``rows``, in order of arrival; the classes are the models'."""
        for i in np.flatnonzero(labels.trusted & rows).tolist():
            session = str(labels.session[i])
            if session in self._sessions or len(self._sessions) >= _MOST:
                continue
            label = int(labels.label[i])
            if label not in (int(f_class[i]), int(g_class[i])):
                self.neither += 1
                continue
            self._sessions.append(session)
            self._toward.append(int(f_class[i]))
            self._right.append(label == f_class[i])
            self._x = np.concatenate([self._x, labels.x[i : i + 1]])

    def judged(self, itemset: Itemset | None, toward: int | None) -> tuple[float, int, int]:
        """Log likelihood ratio, number of answers and how often f was right.

        Only answers on events that f puts in class ``toward`` count; of these, carriers' alone if four answered.
        """
        asked = np.array([t == toward for t in self._toward], np.bool_)
        right = np.array(self._right, np.bool_)[asked]
        if itemset is not None and len(right):
            carrier = itemset.carries(self._x[asked])
            right = right[carrier] if carrier.sum() >= _ENOUGH else right
        count = int(right.sum())
        return count * self._llr_right + (len(right) - count) * self._llr_wrong, len(right), count

    def state(self) -> State:
        """What `take` has changed."""
        return {
            "x": self._x.copy(),
            "toward": list(self._toward),
            "right": list(self._right),
            "sessions": list(self._sessions),
            "neither": self.neither,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._x = np.array(state["x"], np.float64)
        self._toward = [int(c) for c in state["toward"]]
        self._right = [bool(r) for r in state["right"]]
        self._sessions = [str(s) for s in state["sessions"]]
        self.neither = int(state["neither"])
