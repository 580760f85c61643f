"""Is a number in another unit? One ratio, or a logarithm, after whose undoing it fits its neighbours as before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Floats

_TENS: Final = (10.0, 1e2, 1e3, 1e4, 1e5, 1e6, 1e9)
_UNITS: Final = (*_TENS, 8.0, 12.0, 16.0, 24.0, 32.0, 60.0, 64.0, 512.0, 1024.0, 3600.0, 86400.0, 2.0**20, 2.0**30)
_BETTER: Final = 0.2  # logarithms are tried in the order of how common they are
_TEN_FIRST: Final = 0.03  # 1,000 and 1,024 are nearer to one another than a few sessions can tell
_NEAR_A_UNIT: Final = 0.1  # of a logarithm: a ratio this near to a known one is called that
_SAME_SPREAD: Final = 0.5  # how much wider than the past's the log ratios to neighbours may be
_NARROWER: Final = 0.6  # a ratio keeps the spread, a logarithm does not
_SLACK: Final = 0.1
_WIDER: Final = 0.25  # a logarithm's undoing stretches errors
_SAME_CENTRE: Final = 0.4
_FEWEST: Final = 12
_LOGARITHMS: Final[tuple[tuple[str, Callable[[Floats], Floats]], ...]] = (
    ("exp(x) - 1", np.expm1),
    ("exp(x)", np.exp),
    ("10^x", lambda x: 10.0**x),
    ("2^x", np.exp2),
)
_LARGEST_EXPONENT: Final = 80.0


@dataclass(frozen=True, slots=True)
class UnitChange:
    """``between``: a magnitude that parts old values from new ones; ``grown``: new ones are larger."""

    shown: str
    undo: str
    between: float
    grown: bool


@dataclass(frozen=True, slots=True)
class _Ratios:
    """Median, interquartile range and number of log ratios of magnitudes to the medians of their neighbours'."""

    centre: float
    spread: float
    count: int


def changed_unit(now: Floats, past: Floats, near_now: Floats, near_past: Floats, least: float) -> UnitChange | None:
    """The change from past[n] to now[m], with the neighbours' values [., 10]; None where it looks like no unit.

    A ratio r counts where it is surely above ``least`` or below 1/``least``, and the log ratios of values to neighbours
    spread as before: honest growth differs from event to event. Otherwise the logarithms are tried.
    """
    usual, seen = _ratios(past, near_past), _ratios(now, near_now)
    if min(usual.count, seen.count) < _FEWEST:
        return None
    shift = seen.centre - usual.centre
    error = 0.93 * np.hypot(seen.spread / np.sqrt(seen.count), usual.spread / np.sqrt(usual.count))
    grown = shift > 0
    between = float(np.exp(0.5 * (_centre(now) + _centre(past))))
    log = _logarithm(now, near_now, usual, seen)
    if log is not None:
        return UnitChange("logarithm", log, between, grown)
    if abs(shift) < np.log(least) or abs(shift) - 2 * error < np.log(0.75 * least):
        return None
    if not _NARROWER * usual.spread - _SLACK <= seen.spread <= usual.spread + _SAME_SPREAD:
        return None
    ratio = _known_unit(abs(shift), 2 * error)
    return UnitChange(f"{'x' if grown else '/'}{ratio:.4g}", f"{'x /' if grown else 'x *'} {ratio:.4g}", between, grown)


def _logarithm(now: Floats, near: Floats, usual: _Ratios, seen: _Ratios) -> str | None:
    """What undoes a logarithm, if one does and the values do not fit as they are."""
    off = abs(seen.centre - usual.centre)
    if np.nanmax(np.abs(now)) > _LARGEST_EXPONENT or off < np.log(2):
        return None
    best = None
    for undo, back in _LOGARITHMS:
        tried = _ratios(back(now), near)
        gap = abs(tried.centre - usual.centre) + max(tried.spread - usual.spread, 0.0)
        fits = (
            abs(tried.centre - usual.centre) <= _SAME_CENTRE
            and tried.spread <= (1 + _WIDER) * usual.spread + _SAME_SPREAD
        )
        if fits and gap < off and (best is None or gap < best[0] - _BETTER):
            best = (gap, undo)
    return None if best is None else best[1]


def _known_unit(log_ratio: float, error: float) -> float:
    """The nearest unit that the error allows (of two that lie close, the power of ten), else the ratio itself."""
    logs = np.log(_UNITS)
    distance = np.abs(logs - log_ratio)
    nearest = int(np.argmin(distance + _TEN_FIRST * ~np.isin(_UNITS, _TENS)))
    return float(_UNITS[nearest] if distance[nearest] <= max(_NEAR_A_UNIT, error) else np.exp(log_ratio))


def _ratios(value: Floats, near: Floats) -> _Ratios:
    with np.errstate(divide="ignore"):  # log 0 = -inf: a zero tells nothing of a unit
        sizes, own = np.log(np.abs(near)), np.log(np.abs(value))
    usable = np.isfinite(own) & np.isfinite(sizes).any(axis=1)
    if not usable.any():
        return _Ratios(0.0, 0.0, 0)
    middle = np.nanmedian(np.where(np.isfinite(sizes[usable]), sizes[usable], np.nan), axis=1)
    low, centre, high = np.quantile(own[usable] - middle, (0.25, 0.5, 0.75))
    return _Ratios(float(centre), float(high - low), int(usable.sum()))


def _centre(value: Floats) -> float:
    size = np.abs(value[np.isfinite(value) & (value != 0)])
    return float(np.median(np.log(size)))
