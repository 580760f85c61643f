"""What the stream shows the versions to part on, looked for among the rows of the retraining buffer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Bools, Buffer, Columns, Floats, Ints, Reference, Strings, Window
from detectors.buffer.contradictions import expected, strata, strength
from detectors.evidence import State
from detectors.nulls.itemsets import Itemset, Mining, mine_several
from detectors.sequential import session_mean, sessions_of

_DIRECTIONS: Final = 2  # those in which the versions part most often are mined
_HELD: Final = 256  # sessions that are mined
_GROWTH: Final = 0.25  # the share of new sessions from which on they are mined again
_FEWEST: Final = 2  # sessions of the buffer
_SIZES: Final = 3  # sessions of one, two, and more rows are strata
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


class _Contradicted:
    """The buffer's rows that g puts in another class than ``label``, by session: in which most have that label."""

    def __init__(self, buffer: Buffer, label: int) -> None:
        g_class = np.argmax(buffer.g, axis=1)
        self.rows = np.flatnonzero((buffer.y >= 0) & (g_class != label) & ~np.isnan(buffer.g).any(axis=1))
        self._given = buffer.y[self.rows] == label
        self._code, self._count = sessions_of(buffer.session[self.rows])
        first = np.unique(self._code, return_index=True)[1]
        size = np.minimum(np.bincount(self._code, minlength=self._count), _SIZES) - 1
        against = strength(buffer.g[self.rows], np.full(len(self.rows), label))
        against = session_mean(against, self._code, self._count)
        self._stratum = strata(_SIZES * g_class[self.rows[first]] + size, against)
        self._flagged = self._mostly(np.ones(len(self.rows), np.bool_))

    def _mostly(self, among: Bools) -> Bools:
        """Sessions in which more than half of the rows ``among`` have the label."""
        vote = np.where(self._given, 1.0, -1.0) * among
        return np.asarray(np.bincount(self._code, weights=vote, minlength=self._count) > 0)

    def tested(self, carries: Bools) -> tuple[int, float, Ints]:
        """Sessions in which most of the rows that carry have the label, how many are expected, and those rows."""
        carrying = np.zeros(self._count, np.bool_)
        carrying[self._code[carries]] = True
        observed = int(self._mostly(carries).sum())
        return observed, expected(self._flagged, self._stratum, carrying), self.rows[carries & self._given]


class StreamPatterns:
    """Mines the events on which f and g part, however sure they are, and looks for the itemsets in the buffer.

    A scan of the buffer alone tests every itemset there is, and pays for it: a dozen poisoned rows in two or three
    sessions are lost in that. The stream names a few, which are tested alone: those that hardly any undisputed event of
    the reference carries. Null: most rows of a session have a label that g contradicts by honest noise, as often as in
    other sessions of its class, certainty and length, whatever else it carries. Whether f agrees with the label does
    not count: an itemset on which f errs by itself would make every noisy label there look learned.
    Then the number of sessions that carry the itemset is at most Poisson-like with the mean E of their rates, and
    P(>= O) <= exp(-(O ln(O/E) - O + E)) (Chernoff). The k-th itemset that is tested spends level / (k (k + 1)), so that
    over a whole stream, however long, one is traced falsely with probability at most ``level``. Honest news is traced
    too, which is why labels of the rows decide.
    """

    def __init__(self, buffer: Buffer, reference: Reference, mining: Mining, level: float) -> None:
        self._buffer, self._reference, self._mining = buffer, reference, mining
        self._level = level
        labels = np.unique(buffer.y[buffer.y >= 0]).tolist()
        self._contradicted = {label: _Contradicted(buffer, label) for label in labels}
        self._tested: dict[str, int] = {}
        self._f_class, self._g_class = np.argmax(reference.f, axis=1), np.argmax(reference.g, axis=1)
        self._parted = Parted.none(reference.x.shape[1])
        self._new = 0

    def look(self, window: Window) -> list[Traced]:
        """What a window brings to light, the least likely first; mostly nothing."""
        if window.g is None:
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
        return [traced for traced in found if traced is not None and traced.log_p <= self._allowed(traced)]

    def _allowed(self, traced: Traced) -> float:
        number = self._tested[_name(traced.itemset, traced.label)]
        return float(np.log(self._level / (number * (number + 1))))

    def trace(self, itemset: Itemset, label: int) -> Traced | None:
        """What the buffer has of the itemset under the label against g, if that is more than is expected."""
        self._tested.setdefault(_name(itemset, label), len(self._tested) + 1)
        suspect = self._contradicted.get(label)
        if suspect is None:
            return None
        observed, by_chance, rows = suspect.tested(itemset.carries(self._buffer.x[suspect.rows]))
        if observed < _FEWEST or observed <= by_chance:
            return None
        log_p = -(observed * np.log(observed / by_chance) - observed + by_chance)
        return Traced(itemset, label, rows, observed, by_chance, float(log_p))

    def state(self) -> State:
        """The sessions that are mined, and the itemsets that were tested."""
        parted = {name: getattr(self._parted, name).copy() for name in self._parted.arrays()}
        return {"parted": parted, "new": self._new, "tested": list(self._tested)}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._parted = Parted(**{name: np.array(column) for name, column in state["parted"].items()})
        self._new = int(state["new"])
        self._tested = {str(name): number for number, name in enumerate(state["tested"], start=1)}


def _name(itemset: Itemset, label: int) -> str:
    return f"{label} {[(item.feature, item.low, item.high) for item in itemset.items]}"
