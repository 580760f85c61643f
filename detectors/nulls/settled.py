"""What trusted answers have approved of, so that only what lies beyond it is asked about again."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats, Ints
from detectors.evidence import State
from detectors.nulls.itemsets import Itemset
from detectors.sequential import upper_bound

NEW, KNOWN, COVERED = 0, 1, -1
"""Ground of an event: in a direction never approved; in an approved direction; approved itself."""

_MOST: Final = 16  # approvals held; every one took several answers


class Settled:
    """Approved directions and itemsets, and the rate of deep votes that is now known to be honest.

    An approval covers the carriers of the approved itemset in its direction (class by g, class by f): they vote no
    more. Other events in that direction go on voting against a raised null: the bound of the rate that they had while
    the question was open, never below the one before. All other directions keep the churn of the reference as their
    null. So an honest flood shields neither another direction nor, where it is compact, another itemset; what it can
    hide is what carries its own itemset, or stays below the rate of a flood that shares nothing.
    """

    def __init__(self, null: Floats, level: float) -> None:
        self._base, self._level = null, level
        self._raised = null.copy()
        self._approved: list[tuple[tuple[int, int], Itemset | None]] = []
        self._sessions, self._votes = 0, np.zeros(null.shape[1])

    def __len__(self) -> int:
        return len(self._approved)

    @property
    def null(self) -> Floats:
        """The `cautious_bounds` of votes on new ground, followed by those on known ground once there is any."""
        return np.concatenate([self._base, self._raised], axis=1) if self._approved else self._base

    def ground(self, x: Floats, f_class: Ints, g_class: Ints) -> Ints:
        """`NEW`, `KNOWN` or `COVERED` for each of the rows x[n, d]."""
        out = np.full(len(x), NEW)
        for direction, itemset in self._approved:
            along = np.flatnonzero((g_class == direction[0]) & (f_class == direction[1]))
            out[along] = np.where(out[along] == COVERED, COVERED, KNOWN)
            if itemset is not None and len(along):
                out[along[itemset.carries(x[along])]] = COVERED
        return out

    def count(self, votes: Floats) -> None:
        """Votes [n, m] that would be on known ground if the open question were settled as honest."""
        self._sessions += len(votes)
        self._votes = self._votes + votes.sum(axis=0)

    def approve(self, direction: tuple[int, int], itemset: Itemset | None) -> None:
        """Trusted answers say that f is right there."""
        bound = upper_bound(np.minimum(self._votes, self._sessions), max(self._sessions, 1), self._level)
        self._raised = np.maximum(self._raised, bound)
        self._approved = [*self._approved, (direction, itemset)][-_MOST:]
        self._sessions, self._votes = 0, np.zeros(self._base.shape[1])

    def state(self) -> State:
        """Approvals and the votes counted since the last one."""
        approved = [[list(d), i.state() if i is not None else None] for d, i in self._approved]
        return {
            "approved": approved,
            "raised": self._raised.copy(),
            "sessions": self._sessions,
            "votes": self._votes.copy(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._approved = [
            ((int(g), int(f)), Itemset.restored(i) if i is not None else None) for (g, f), i in state["approved"]
        ]
        self._raised = np.array(state["raised"], np.float64)
        self._sessions, self._votes = int(state["sessions"]), np.array(state["votes"], np.float64)
