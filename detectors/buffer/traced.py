"""What the stream shows the versions to part on, looked for among the rows of the retraining buffer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Buffer, Columns, Floats, Ints, Reference, Strings, Window
from detectors.buffer.contradictions import Contradictions, contradictions
from detectors.evidence import State
from detectors.nulls.itemsets import Itemset, Mining, mine_several

_DIRECTIONS: Final = 2  # those in which the versions part most often are mined
_HELD: Final = 256  # sessions that are mined
_GROWTH: Final = 0.25  # the share of new sessions from which on they are mined again
_FEWEST: Final = 2  # sessions of the buffer
_RARE: Final = 0.01  # values that this share of the reference's undisputed events carries are no trigger


@dataclass(frozen=True, slots=True)
class Parted(Columns):
    """One event of each of the last sessions in which f and g gave different classes."""

    session: Strings
    x: Floats
    f_class: Ints
    g_class: Ints

    @staticmethod
    def none(features: int) -> Parted:
        """No session."""
        classes = np.zeros(0, np.int64)
        return Parted(np.zeros(0, "<U1"), np.zeros((0, features)), classes, classes.copy())


@dataclass(frozen=True, slots=True)
class Traced:
    """An itemset of the stream that ``sessions`` of the buffer carry under ``label``, where chance gives ``expected``.

    ``rows`` are these sessions' rows.
    """

    itemset: Itemset
    label: int
    rows: Ints
    sessions: int
    expected: float
    log_p: float


class StreamPatterns:
    """Mines the events on which f and g part, however sure they are, and looks for the itemsets in the buffer.

    A scan of the buffer alone tests every itemset there is, and pays for it: a dozen poisoned rows in two or three
    sessions are lost in that. The stream names a few, which are tested alone: those that hardly any undisputed event of
    the reference carries. Null, as in `contradictions`: a row that g puts in another class has the label by honest
    noise, at the rate of the others of its class, certainty and length, whatever else it carries. Then the number of
    sessions that carry the itemset is at most Poisson-like with the mean E of their rates, and P(>= O) <=
    exp(-(O ln(O/E) - O + E)) (Chernoff). ``level`` is that of one itemset; honest news that f has learned from these
    rows crosses it too, which is why labels of the rows decide.
    """

    def __init__(
        self, buffer: Buffer, reference: Reference, mining: Mining, level: float, rng: np.random.Generator
    ) -> None:
        self._buffer, self._reference, self._mining = buffer, reference, mining
        self._log_level = float(np.log(level))
        every = contradictions(buffer, reference, 0.0, rng)
        self._suspects: dict[int, Contradictions] = {c.label: c for c in every if c.learned}
        self._f_class, self._g_class = np.argmax(reference.f, axis=1), np.argmax(reference.g, axis=1)
        self._parted = Parted.none(reference.x.shape[1])
        self._new = 0

    def look(self, window: Window) -> list[Traced]:
        """What a window brings to light, the least likely first; mostly nothing."""
        if window.g is None or not self._suspects:
            return []
        f_class, g_class = np.argmax(window.f, axis=1), np.argmax(window.g, axis=1)
        scored = ~(np.isnan(window.f).any(axis=1) | np.isnan(window.g).any(axis=1))
        rows = np.flatnonzero((f_class != g_class) & scored)
        if not len(rows):
            return []
        known = len(self._parted)
        new = Parted(window.batch.session[rows], window.batch.x[rows], f_class[rows], g_class[rows])
        both = Parted.concat([self._parted, new])
        first = np.sort(np.unique(both.session, return_index=True)[1])
        self._new += len(first) - known
        self._parted = both.take(first[-_HELD:])
        if self._new < max(1.0, _GROWTH * len(self._parted)):
            return []
        self._new = 0
        return sorted(self._mined(), key=lambda traced: traced.log_p)

    def _mined(self) -> list[Traced]:
        parted, reference = self._parted, self._reference
        pairs = Counter(zip(parted.g_class.tolist(), parted.f_class.tolist(), strict=True))
        found: list[Traced | None] = []
        for (g_class, f_class), _ in pairs.most_common(_DIRECTIONS):
            along = (parted.g_class == g_class) & (parted.f_class == f_class)
            calm = reference.x[(self._g_class == g_class) & (self._f_class == g_class)]
            mined = mine_several(parted.x[along], calm, calm[:0], reference.x, self._mining)
            found += [self.trace(itemset, f_class) for itemset in mined if itemset.outside <= _RARE]
        return [traced for traced in found if traced is not None]

    def trace(self, itemset: Itemset, label: int) -> Traced | None:
        """Where the buffer has the itemset under the label against g more often than chance."""
        suspect = self._suspects.get(label)
        if suspect is None:
            return None
        x = self._buffer.x
        carries = itemset.carries(x[suspect.rows])
        observed, expected = int(np.sum(carries & suspect.flagged)), suspect.expected(carries)
        if observed < _FEWEST or observed <= expected:
            return None
        log_p = -(observed * np.log(observed / expected) - observed + expected)
        if log_p > self._log_level:
            return None
        rows = suspect.every[itemset.carries(x[suspect.every])]
        return Traced(itemset, label, rows, observed, expected, float(log_p))

    def state(self) -> State:
        """The sessions that are mined."""
        return {
            "parted": {name: getattr(self._parted, name).copy() for name in self._parted.arrays()},
            "new": self._new,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._parted = Parted(**{name: np.array(column) for name, column in state["parted"].items()})
        self._new = int(state["new"])
