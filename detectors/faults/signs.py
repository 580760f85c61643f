"""What a feature that changed alone looks like: which fault it is, and what would undo it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from scipy.stats import binom, rankdata

from detectors.batch import Bools, Floats
from detectors.faults.unit_change import changed_unit
from detectors.schema import UNSEEN, Feature

_SHARE: Final = 0.08  # fewer nulls than this beyond the past's are no finding: neither is one in twelve sources
_PART: Final = 0.15  # so much must a single value have risen to be a sentinel
_INDEPENDENT: Final = 0.25
_ALL: Final = 0.97
_BETTER: Final = 0.1  # more than chance
_NEARLY: Final = 0.7
_GONE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Sign:
    """A fault of one feature.

    ``shown``: how the feature looks now. ``undo``: what would make it ordinary again, "" where nothing can. A value is
    hit where it ``relation`` (null, is, least, most) ``value``: this is how the end of the fault is seen.
    """

    cause: str
    shown: str
    undo: str
    relation: str
    value: float = 0.0

    def hits(self, column: Floats) -> Bools:
        """Which values are as the fault makes them."""
        if self.relation == "null":
            return np.isnan(column)
        if self.relation == "is":
            return np.asarray(column == self.value)
        size = np.abs(column)
        return np.asarray(size >= self.value if self.relation == "least" else (size <= self.value) & (size > 0))

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Columns:
    """A feature's values ``now`` [m] and in the ``past`` [n], each with those of their neighbours [., 10]."""

    feature: Feature
    now: Floats
    past: Floats
    near_now: Floats
    near_past: Floats


def read(columns: Columns, least_ratio: float) -> Sign | None:
    """The first sign that fits: nulls, a renamed value, stuck at one value, inverted, another unit, a sentinel."""
    for sign in _SIGNS:
        found = sign(columns)
        if found is not None:
            return found
    if columns.feature.kind == "numeric":
        unit = changed_unit(columns.now, columns.past, columns.near_now, columns.near_past, least_ratio)
        if unit is not None:
            return Sign("unit", unit.shown, unit.undo, "least" if unit.grown else "most", unit.between)
        return _sentinel(columns)
    return None


def _nulls(c: Columns) -> Sign | None:
    now, past = np.mean(np.isnan(c.now)), np.mean(np.isnan(c.past))
    usual = (np.isnan(c.past).sum() + 1) / (len(c.past) + 1)
    chance = float(binom.sf(np.isnan(c.now).sum() - 1, len(c.now), min(usual, 1.0)))
    return Sign("nulls", f"nulls {now:.0%}", "", "null") if now - past >= _SHARE and chance < _GONE else None


def _renamed(c: Columns) -> Sign | None:
    """A known value vanished that made up about as many sessions as unseen ones do now; a new value is no fault."""
    share = float(np.mean(c.now == UNSEEN))
    if c.feature.kind != "categorical" or share - np.mean(c.past == UNSEEN) < _SHARE / 2:
        return None
    values, counts = np.unique(c.past[c.past >= 0], return_counts=True)
    before = counts / len(c.past)
    left = np.array([np.mean(c.now == v) for v in values])
    # gone: its absence is no chance, and nearly none is left
    gone = ((1 - before) ** len(c.now) < _GONE) & (left <= 0.1 * before) & (before >= 0.5 * share)
    gone &= before <= 2 * share + 2 * np.sqrt(share / len(c.now))
    if not gone.any():
        return None
    lost = float(values[gone][np.argmin(np.abs(before[gone] - share))])
    return Sign("unseen", f"unseen {share:.0%}", f"unseen value = {c.feature.show(lost)}", "is", UNSEEN)


def _stuck(c: Columns) -> Sign | None:
    value, share = _commonest(c.now)
    if share < _ALL or np.mean(c.past == value) > 0.9 * share or value == UNSEEN:
        return None
    zeroed = value == 0 and c.feature.kind != "categorical"
    return Sign("zeroed" if zeroed else "frozen", f"always {c.feature.show(value)}", "", "is", value)


def _inverted(c: Columns) -> Sign | None:
    """Swapped values agree with the neighbours as the past's did, and values as they came do not."""
    known = np.unique(np.concatenate([c.past, c.now]))
    if c.feature.kind == "categorical" or len(known) != 2:  # noqa: PLR2004 - a bit has two
        return None
    swapped = known.sum() - c.now
    plain, back = _agreement(c.now, c.near_now), _agreement(swapped, c.near_now)
    usual = _agreement(c.past, c.near_past)
    # swapped in all events: in most of them only is another mix
    if back - plain < max(_BETTER, _NEARLY * (2 * usual - 1)) or back < usual - _BETTER:
        return None
    risen = float(known[np.argmax([np.mean(c.now == v) - np.mean(c.past == v) for v in known])])
    return Sign("inverted", f"{_text(known[0])} and {_text(known[1])} swapped", "swap the two values", "is", risen)


def _sentinel(c: Columns) -> Sign | None:
    """A single value that was rare came in many events that have nothing else in common."""
    known = np.unique(c.now[~np.isnan(c.now)])
    if len(known) == 0:
        return None
    risen = [float(np.mean(c.now == v) - np.mean(c.past == v)) for v in known]
    value = float(known[np.argmax(risen)])
    now, past, near = (float(np.mean(v == value)) for v in (c.now, c.past, c.near_now))
    if min(now - past, now - near) < _PART or past > _PART or not _anywhere(c.now == value, c.near_now):
        return None
    return Sign("zeroed" if value == 0 else "sentinel", f"{_text(value)} in {now:.0%}", "", "is", value)


_SIGNS: Final[tuple[Callable[[Columns], Sign | None], ...]] = (_nulls, _renamed, _stuck, _inverted)


def _anywhere(hit: Bools, near: Floats) -> bool:
    """Whether hits come whatever the neighbours have (AUC near a half): where a common value only grew they do not."""
    middle = np.median(np.nan_to_num(near), axis=1)
    if hit.all():
        return True
    rank = rankdata(middle)[hit].mean() - (hit.sum() + 1) / 2
    return bool(abs(rank / (~hit).sum() - 0.5) <= _INDEPENDENT)


def _commonest(column: Floats) -> tuple[float, float]:
    """The commonest known value and its share of the known ones."""
    known = column[~np.isnan(column)]
    if len(known) == 0:
        return 0.0, 0.0
    values, counts = np.unique(known, return_counts=True)
    return float(values[np.argmax(counts)]), float(counts.max() / len(known))


def _agreement(value: Floats, near: Floats) -> float:
    return float(np.mean(near == value[:, None]))


def _text(value: float) -> str:
    return f"{value:g}"
