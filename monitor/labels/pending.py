"""Labels that wait for their event: it is in a window that is still open, or it never came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from detectors.batch import Bools, Ints
from detectors.evidence import State
from monitor.decoding.feedback import Feedback
from monitor.state.column_state import columns_from, columns_state


@dataclass(frozen=True, slots=True)
class Waiting:
    """Feedback with what is known about it here. ``until``: the number of stored windows at which it expires."""

    feedback: Feedback
    vetted: Bools
    until: Ints

    def __len__(self) -> int:
        return len(self.feedback)

    def take(self, rows: Bools | slice) -> Waiting:
        """The given rows."""
        return Waiting(self.feedback.take(rows), self.vetted[rows], self.until[rows])

    def joined_with(self, other: Waiting) -> Waiting:
        """The rows of both; they carry equally many features."""
        return Waiting(
            Feedback.concat([self.feedback, other.feedback]),
            np.concatenate([self.vetted, other.vetted]),
            np.concatenate([self.until, other.until]),
        )

    def state(self) -> State:
        """For the checkpoint."""
        return {"feedback": columns_state(self.feedback), "vetted": self.vetted, "until": self.until}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """What `state` gave."""
        return cls(columns_from(Feedback, state["feedback"]), state["vetted"], state["until"])


class PendingLabels:
    """At most ``limit`` labels; beyond it the oldest are given up."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # feedback with and without features of its own differs in width
        self._parts: dict[tuple[int, int], Waiting] = {}

    def __len__(self) -> int:
        return sum(map(len, self._parts.values()))

    def parts(self) -> list[Waiting]:
        """All that waits, in groups of equal width."""
        return list(self._parts.values())

    def add(self, waiting: Waiting) -> int:
        """Let these wait; returns how many were given up for them."""
        if not len(waiting):
            return 0
        width = (waiting.feedback.x.shape[1], waiting.feedback.scores.shape[1])
        held = self._parts.get(width)
        self._parts[width] = held.joined_with(waiting) if held else waiting
        surplus = len(self) - self._limit
        if surplus <= 0:
            return 0
        untils = np.concatenate([part.until for part in self._parts.values()])
        dropped = 0
        # the oldest expire first; within the same age the first that came
        for width, part in sorted(self._parts.items(), key=lambda item: int(item[1].until[0])):
            count = min(surplus - dropped, int((part.until <= np.sort(untils)[surplus - 1]).sum()))
            self._parts[width] = part.take(slice(count, None))
            dropped += count
        self._forget_empty()
        return dropped

    def keep(self, width_part: Waiting, rows: Bools) -> None:
        """Of one of `parts` only these rows go on waiting."""
        width = (width_part.feedback.x.shape[1], width_part.feedback.scores.shape[1])
        self._parts[width] = width_part.take(rows)
        self._forget_empty()

    def state(self) -> State:
        """For the checkpoint."""
        return {"parts": [part.state() for part in self._parts.values()]}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._parts = {}
        for part in map(Waiting.from_state, state["parts"]):
            self._parts[part.feedback.x.shape[1], part.feedback.scores.shape[1]] = part

    def _forget_empty(self) -> None:
        self._parts = {width: part for width, part in self._parts.items() if len(part)}
