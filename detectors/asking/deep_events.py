"""A bounded pool of the events on which two models disagree most deeply, one a session."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from detectors.batch import Bools, Columns, Floats, Ints, Strings
from detectors.evidence import State


@dataclass(frozen=True, slots=True)
class DeepEvents(Columns):
    """Events with their depth of disagreement; ``f_class`` and ``g_class`` are what the two models say.

    ``repeated``: see `detectors.batch.Batch`.
    """

    id: Strings
    source: Strings
    session: Strings
    x: Floats
    depth: Floats
    f_class: Ints
    g_class: Ints
    repeated: Bools

    @staticmethod
    def none(features: int) -> DeepEvents:
        """An empty pool."""
        empty = np.zeros(0, "<U1")
        classes = np.zeros(0, np.int64)
        return DeepEvents(
            empty,
            empty.copy(),
            empty.copy(),
            np.zeros((0, features)),
            np.zeros(0),
            classes,
            classes.copy(),
            np.zeros(0, np.bool_),
        )

    def merged(self, new: DeepEvents, size: int) -> DeepEvents:
        """The ``size`` deepest of both, deepest first, the deepest event of each session."""
        both = DeepEvents.concat([self, new])
        order = np.argsort(-both.depth, kind="stable")
        _, first = np.unique(both.session[order], return_index=True)
        return both.take(order[np.sort(first)[:size]])

    def direction(self) -> tuple[int, int] | None:
        """The most frequent pair (class by g, class by f)."""
        pairs = Counter(zip(self.g_class.tolist(), self.f_class.tolist(), strict=True))
        return max(pairs, key=lambda pair: (pairs[pair], pair)) if pairs else None

    def along(self, direction: tuple[int, int]) -> Bools:
        """Which events go from the first class (by g) to the second (by f)."""
        return np.asarray((self.g_class == direction[0]) & (self.f_class == direction[1]), np.bool_)

    def state(self) -> State:
        """The columns, for a checkpoint."""
        return {name: getattr(self, name).copy() for name in self.arrays()}

    @staticmethod
    def restored(state: State) -> DeepEvents:
        """The pool that `state` described."""
        return DeepEvents(**{name: np.array(column) for name, column in state.items()})
