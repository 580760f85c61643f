"""What a broken pipeline does to a value, as indicators: missing, unknown, out of range, in a tail, at one value."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Ints
from detectors.faults.conditional_range import SEEN
from detectors.schema import UNSEEN, Schema

_NULL, _UNSEEN, _BEYOND, _HIGH, _LOW = range(5)
_CONDITIONAL: Final = 5  # kinds from here on are those of `ConditionalRange.seen`
_ATOM: Final = _CONDITIONAL + len(SEEN)
_TAIL: Final = 0.1
_FEWEST_FOR_QUANTILES: Final = 20
_ATOM_SHARE: Final = 0.03
_MOST_ATOMS: Final = 8


class FaultColumns:
    """Indicators [m, C] of x[m, d]; column c is about feature ``feature[c]``.

    Null and unseen: as they say. Beyond: a number outside the reference's range. High, low: magnitudes above the 90%
    and below the 10% quantile of the non-zero magnitudes of all sources: not of a source's own, for its rate in the
    reference would then be 10% by construction and tell nothing of how sources differ. Conditional:
    `ConditionalRange.seen`. Atom: equal to one value, for up to 8 values a feature that hold 3% each, and for zero.
    Columns of one feature lie side by side (``starts``). ``conditional[c]``: also moves when another feature of the
    event did.
    """

    def __init__(self, schema: Schema, x: Floats) -> None:
        d = x.shape[1]
        self._numeric = np.array([f.kind == "numeric" for f in schema.features])
        categorical = np.array([f.kind == "categorical" for f in schema.features])
        self._least, self._most = _range(x)
        self._low, self._high = _quantiles(x, self._numeric)
        self._owner, self._value = _atoms(x, categorical)
        used = np.tile(self._numeric, (_ATOM, 1))
        used[_NULL], used[_UNSEEN], used[_ATOM - 1] = True, categorical, True
        feature = np.concatenate([np.tile(np.arange(d), _ATOM), self._owner])
        kind = np.concatenate([np.repeat(np.arange(_ATOM), d), np.full(len(self._owner), _ATOM)])
        kept = np.flatnonzero(np.concatenate([used.ravel(), np.ones(len(self._owner), np.bool_)]))
        self._order = kept[np.argsort(feature[kept], kind="stable")]
        self.feature = feature[self._order]
        self.conditional = (kind[self._order] >= _CONDITIONAL) & (kind[self._order] < _ATOM)
        self.starts = np.searchsorted(self.feature, np.arange(d))

    def __len__(self) -> int:
        return len(self.feature)

    def of(self, x: Floats, seen: Bools) -> Bools:
        """The indicators; ``seen`` [m, 5, d] by `ConditionalRange`."""
        size = np.abs(x)
        alone = np.stack(
            [
                np.isnan(x),
                x == UNSEEN,
                (x < self._least) | (x > self._most),
                size > self._high,
                (size > 0) & (size < self._low),
            ],
            axis=1,
        )
        atoms = x[:, self._owner] == self._value
        parts = [part.reshape(len(x), part.shape[1] * part.shape[2]) for part in (alone, seen)]
        return np.concatenate([*parts, atoms], axis=1)[:, self._order]


def _quantiles(x: Floats, numeric: Bools) -> tuple[Floats, Floats]:
    """The 10% and 90% quantiles of each number's non-zero magnitudes; none where there are few."""
    low, high = np.zeros(x.shape[1]), np.full(x.shape[1], np.inf)
    for j in np.flatnonzero(numeric):
        size = np.abs(x[(x[:, j] != 0) & ~np.isnan(x[:, j]), j])
        if len(size) >= _FEWEST_FOR_QUANTILES:
            low[j], high[j] = np.quantile(size, (_TAIL, 1 - _TAIL))
    return low, high


def _range(x: Floats) -> tuple[Floats, Floats]:
    """Least and largest known value of each column; no value is beyond an empty one."""
    least = np.fmin.reduce(x, axis=0, initial=np.inf)
    most = np.fmax.reduce(x, axis=0, initial=-np.inf)
    empty = least > most
    return np.where(empty, -np.inf, least), np.where(empty, np.inf, most)


def _atoms(x: Floats, categorical: Bools) -> tuple[Ints, Floats]:
    """(feature, value) of the values that are watched one by one."""
    owner: list[int] = []
    value: list[float] = []
    for j in range(x.shape[1]):
        known, counts = np.unique(x[~np.isnan(x[:, j]), j], return_counts=True)
        common = known[counts >= max(_ATOM_SHARE * len(x), 2)]
        by_count = np.argsort(-counts[counts >= max(_ATOM_SHARE * len(x), 2)], kind="stable")
        kept = common[by_count][:_MOST_ATOMS].tolist()
        kept = [v for v in kept if v >= 0] if categorical[j] else [*kept, *([] if 0.0 in kept else [0.0])]
        owner += [j] * len(kept)
        value += kept
    return np.array(owner, np.int64), np.array(value, np.float64)
