"""Changes of a few features that nothing else shares, against what the rest of each event says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.batch import Floats, Ints
from detectors.faults.conditional_range import ConditionalRange
from detectors.faults.signs import Columns, Sign, read
from detectors.schema import Schema

_NEXT: Final = 0.4  # how far the next feature may have moved, as a share of the broken one's
_ECHO: Final = 0.6  # likewise, with what only follows from it
_OTHERS: Final = 8  # other features that are checked
_TWICE: Final = 2.0
_BEYOND: Final = 0.03
_UNGROWN: Final = ("nulls", "unseen")  # no growth of the traffic makes these
_ERRORS: Final = 2  # standard errors, for these, that the largest of eight other features is discounted by
_MOST_PAST: Final = 600
_PAST_ROWS: Final = 100
_MOST_HELD: Final = 5000
_FEWEST_NOW: Final = 8
_FEWEST_PAST: Final = 30  # a source with fewer sessions in the reference is compared with all


class LoneChange:
    """What tells a fault from an honest change, on sessions x[m, d] of a scope that has moved.

    1. At most ``confined`` features moved; any other by itself less than .4 of what the last of them did.
    2. Each of them is unlike its neighbours on the *other* features (`ConditionalRange`) by ``outside`` more than
       before, and twice as much as any other feature is: without it the event is ordinary.
    3. It looks like one of the known faults (`read`), and events that do not show it are ordinary (another unit shows
       in all of them).
    """

    def __init__(
        self, schema: Schema, x: Floats, scope: Ints, limits: tuple[int, float, float], ranges: ConditionalRange
    ) -> None:
        self._schema, self._ranges = schema, ranges
        self._x, self._scope = x, scope
        self._usual: dict[tuple[int, int, tuple[int, ...]], tuple[float, float]] = {}  # what the reference gives, once
        self._confined, self._outside, self._ratio = limits

    def past(self, scope: int) -> Floats:
        """The reference's sessions of a scope."""
        return self._x[self._past(scope)]

    def candidates(self, in_all: Floats, alone: Floats, suspected: Sequence[int]) -> list[list[int]]:
        """Sets of features that may have broken, the smallest first: what moved most, if no other moved by itself.

        ``in_all`` [d] and ``alone`` [d] as `FaultRuns.movement`; one of a set is ``suspected``.
        """
        order = np.argsort(-in_all, kind="stable")
        sets = []
        for count in range(1, min(self._confined, len(order) - 1) + 1):
            moved = order[:count].tolist()
            last, rest = in_all[order[count - 1]], order[count:]
            others_stayed = alone[rest].max() <= _NEXT * last and in_all[rest].max() <= _ECHO * last
            if last > 0 and others_stayed and set(moved) & set(suspected):
                sets.append(moved)
        return sets

    def signs(self, now: Floats, scope: int, features: Sequence[int], movement: Floats) -> dict[int, Sign]:
        """The fault of each feature; none at all where one of them looks like none."""
        if len(now) < _FEWEST_NOW or len(self._past(scope)) < _FEWEST_NOW:
            return {}
        others = [j for j in np.argsort(-movement, kind="stable").tolist() if j not in features][:_OTHERS]
        seen = [self._excess(now, scope, j, features) for j in others]
        out = {}
        for j in features:
            sign = self.sign(now, scope, j, features)
            errors = _ERRORS if sign is not None and sign.cause in _UNGROWN else 1
            usual = max((excess - errors * error for excess, error in seen), default=0.0)
            excess, _ = self._excess(now, scope, j, features)
            if excess < max(self._outside, _TWICE * usual + _BEYOND):
                return {}
            if sign is None or not self._explains(sign, now, scope, j, features):
                return {}
            out[j] = sign
        return out

    def _explains(self, sign: Sign, now: Floats, scope: int, j: int, features: Sequence[int]) -> bool:
        """Whether events that do not show the sign are as ordinary as before.

        Every event shows another unit; that it explains what is odd is part of the sign (`changed_unit`).
        """
        if sign.cause == "unit":
            return True
        rest = now[~sign.hits(now[:, j])]
        if len(rest) < _FEWEST_NOW:
            return True
        excess, error = self._excess(rest, scope, j, features)
        return excess - error < self._outside

    def sign(self, now: Floats, scope: int, j: int, without: Sequence[int]) -> Sign | None:
        """The fault of one feature, whose neighbours are found without some others."""
        past = self._past(scope)
        if len(now) == 0:
            return None
        before = self._x[past]
        near_now = self._ranges.near(now, j, without)
        near_past = self._ranges.near(before, j, without, rows=past)
        return read(Columns(self._schema.features[j], now[:, j], before[:, j], near_now, near_past), self._ratio)

    def _excess(self, now: Floats, scope: int, j: int, without: Sequence[int]) -> tuple[float, float]:
        """How much more unlike its neighbours a feature is now than in the scope's past, and the standard error."""
        at = (scope, j, tuple(sorted(without)))
        if at not in self._usual:
            if len(self._usual) >= _MOST_HELD:
                self._usual.clear()
            past = self._past(scope)[:_PAST_ROWS]
            self._usual[at] = self._ranges.unlike(self._x[past], j, without, rows=past)
        usual, usual_error = self._usual[at]
        mean, error = self._ranges.unlike(now, j, without)
        return mean - usual, float(np.sqrt(error + usual_error))

    def _past(self, scope: int) -> Ints:
        own = np.flatnonzero(self._scope == scope)
        if scope == 0 or len(own) < _FEWEST_PAST:
            return np.arange(min(len(self._x), _MOST_PAST))
        return own
