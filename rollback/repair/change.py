"""How a feature differs in a batch, in words: what to look for at its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from detectors.batch import Floats
from detectors.schema import UNSEEN, Feature
from rollback.repair.batches import Pair
from rollback.repair.profiles import tidy, votes

How = Literal["missing", "constant", "renamed", "clipped", "factor", "shift", "spread", "mix", "shape"]

MUCH: Final = 0.1
NEARLY_ALL: Final = 0.9
TAIL: Final = 0.05
QUANTILES: Final = np.linspace(0.1, 0.9, 9)
ALIKE: Final = 0.25
"""Differences of all quantiles are one difference when they spread less than this share of it."""


@dataclass(frozen=True, slots=True)
class Change:
    """``how`` a feature differs, and ``said`` in words."""

    how: How
    said: str


def change(pair: Pair, j: int) -> Change:
    """How feature ``j`` of a batch differs from the base."""
    feature = pair.now.schema.features[j]
    now, past = tidy(pair.now.x[:, j]), tidy(pair.past.x[:, j])
    here, there = votes(pair.now), votes(pair.past)
    empty, before = weighted(np.isnan(now), here), weighted(np.isnan(past), there)
    if abs(empty - before) >= MUCH:
        return Change("missing", f"missing in {empty:.0%} of the rows, before in {before:.0%}")
    value, share = most_common(now, here)
    usual = weighted(same(past, value), there)
    if share >= NEARLY_ALL > usual + MUCH:
        return Change("constant", f"{feature.show(value)} in {share:.0%} of the rows, before in {usual:.0%}")
    if feature.kind == "categorical":
        return _category(feature, now, past, here, there)
    return _number(now[~np.isnan(now)], past[~np.isnan(past)])


def _category(feature: Feature, now: Floats, past: Floats, here: Floats, there: Floats) -> Change:
    names = np.unique(np.concatenate([now[~np.isnan(now)], past[~np.isnan(past)]]))
    moved = np.array([weighted(now == v, here) - weighted(past == v, there) for v in names])
    if not len(names):
        return Change("mix", "categories occur in other shares")
    up, down = int(moved.argmax()), int(moved.argmin())
    gain, loss = moved[up], -moved[down]
    to, of = feature.show(names[up]), feature.show(names[down])
    fresh = names[up] == UNSEEN or weighted(past == names[up], there) < TAIL
    if gain >= MUCH and fresh and abs(gain - loss) <= ALIKE * gain:
        return Change("renamed", f"{of} became {to} in {gain:.0%} of the rows: renamed?")
    return Change("mix", f"{to} in {gain:.0%} more of the rows, {of} in {loss:.0%} fewer")


def _number(now: Floats, past: Floats) -> Change:
    other = Change("shape", "has another distribution")
    if not len(now) or not len(past):
        return other
    return _clipped(now, past) or _moved(now, past) or other


def _clipped(now: Floats, past: Floats) -> Change | None:
    top, bottom = now.max(), now.min()
    if np.mean(past > top) >= TAIL and np.mean(now == top) >= MUCH > np.mean(past == top) + TAIL:
        return Change("clipped", f"cut off at {top:g}: {np.mean(past > top):.0%} of the base is larger")
    if np.mean(past < bottom) >= TAIL and np.mean(now == bottom) >= MUCH > np.mean(past == bottom) + TAIL:
        return Change("clipped", f"cut off at {bottom:g}: {np.mean(past < bottom):.0%} of the base is smaller")
    return None


def _moved(now: Floats, past: Floats) -> Change | None:
    log = log_ratios(now, past)
    if len(log) and abs(np.median(log)) > np.log(1.5) and np.ptp(log) <= ALIKE * 2 * abs(np.median(log)):
        return Change("factor", f"{np.exp(np.median(log)):.4g} times as large")
    gaps = np.quantile(now, QUANTILES) - np.quantile(past, QUANTILES)
    middle, width = float(np.median(gaps)), float(np.subtract(*np.quantile(past, [0.75, 0.25])))
    if abs(middle) > MUCH * width and np.ptp(gaps) <= ALIKE * 2 * abs(middle):
        return Change("shift", f"{abs(middle):.4g} {'larger' if middle > 0 else 'smaller'}")
    spread = float(np.subtract(*np.quantile(now, [0.75, 0.25])))
    if width > 0 and not 1 / 1.5 < spread / width < 1.5:  # noqa: PLR2004 - half as wide again
        return Change("spread", f"its middle half is {spread / width:.3g} times as wide")
    return None


def log_ratios(now: Floats, past: Floats) -> Floats:
    """Of the magnitudes that are not 0: ln of the quotient of nine quantiles; empty where there are none."""
    sizes = [np.abs(v[(v != 0) & ~np.isnan(v)]) for v in (now, past)]
    if min(map(len, sizes)) == 0:
        return np.zeros(0)
    return np.asarray(np.subtract(*(np.log(np.quantile(v, QUANTILES)) for v in sizes)), np.float64)


def most_common(values: Floats, weight: Floats) -> tuple[float, float]:
    """The value (NaN is one) with most weight, and its share."""
    if not len(values):
        return float("nan"), 0.0
    names, of = np.unique(values, return_inverse=True)
    held = np.bincount(of, weights=weight)
    return float(names[held.argmax()]), float(held.max() / weight.sum())


def same(values: Floats, value: float) -> np.ndarray:
    """Which values are this one; NaN is NaN."""
    return np.isnan(values) if np.isnan(value) else values == value


def weighted(mask: np.ndarray, weight: Floats) -> float:
    """The share of the weight."""
    return float((mask * weight).sum() / max(weight.sum(), 1e-12))
