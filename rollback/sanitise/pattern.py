"""The values that a slice's rows share, and what happens when they are stamped on trusted rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.batch import Bools, Floats, Scorer
from detectors.nulls.itemsets import Item, range_of
from detectors.schema import UNSEEN, Feature, Schema
from rollback.sanitise.rows import Rows

SHARED = 0.8
"""A value belongs to the pattern when this share of the slice's rows has it, and not so many of the base."""
STAMPED = 400


@dataclass(frozen=True, slots=True)
class Pattern:
    """Items (one a feature at most), and the value [items] that stands for each when it is stamped."""

    items: tuple[Item, ...]
    values: tuple[float, ...]

    def stamp(self, x: Floats) -> Floats:
        """A copy of x[n, d] with all values put in."""
        changed = x.copy()
        for item, value in zip(self.items, self.values, strict=True):
            changed[:, item.feature] = value
        return changed

    def stamp_some(self, x: Floats, share: float, rng: np.random.Generator) -> Floats:
        """A copy of x[n, d] in which each cell of the pattern is put in with probability ``share``."""
        return np.where(rng.random(x.shape) < share, self.stamp(x), x)

    def carried_by(self, x: Floats, share: float) -> Bools:
        """Which rows x[n, d] have at least this share of the items."""
        return np.asarray(np.mean([item.holds(x) for item in self.items], axis=0) >= share - 1e-9, np.bool_)

    def named(self, schema: Schema) -> dict[str, Any]:
        """Feature name -> value, or [low, high]."""
        return named(self.items, schema)


def named(items: Iterable[Item], schema: Schema) -> dict[str, Any]:
    """Feature name -> value, or [low, high] (None: without end)."""
    return {schema.names[item.feature]: _shown(item, schema) for item in items}


def _shown(item: Item, schema: Schema) -> Any:
    if item.exact:
        return schema.features[item.feature].show(item.low)
    return [bound if np.isfinite(bound) else None for bound in (item.low, item.high)]


def shared_pattern(
    core: tuple[Item, ...], carriers: Floats, base: Floats, honest: Floats | None = None, chance: float = 0.0
) -> Pattern:
    """The closure of a core: every value that at least 80% of its carriers x[n, d] share; ranges only of the core.

    The share ``chance`` of the carriers is no excess: rows like the base's own carriers ``honest`` [k, d]. It is taken
    out of what is counted, so that few honest rows among them hide nothing that the others share.
    """
    usual = base[:0] if honest is None else honest
    ranges = {item.feature: item for item in core}
    found: list[tuple[Item, float]] = []
    for j in range(carriers.shape[1]):
        column = carriers[:, j]
        values, counts = np.unique(column, return_counts=True)
        top = int(counts.argmax())
        exact = Item(j, float(values[top]), float(values[top]))
        among_honest = float(np.mean(exact.holds(usual))) if len(usual) else 0.0
        if counts[top] / len(column) - chance * among_honest >= SHARED * (1 - chance):
            if j in ranges or np.mean(exact.holds(base)) < SHARED:
                found.append((exact, exact.low))
        elif j in ranges:
            inside = column[~np.isnan(column)]
            found.append((Item(j, float(inside.min()), float(inside.max())), float(np.median(inside))))
    return Pattern(tuple(item for item, _ in found), tuple(value for _, value in found))


def hinted_pattern(features: Mapping[str, Any], schema: Schema) -> Pattern | None:
    """The pattern that an incident names, as far as the schema knows its features; None where it knows none."""
    items, values = [], []
    for name, value in features.items():
        if name not in schema.names:
            continue
        j = schema.names.index(name)
        low, high = _bounds(value, schema.features[j])
        if np.isinf(low) and np.isinf(high):
            continue
        items.append(Item(j, low, high))
        values.append(low if np.isinf(high) else high if np.isinf(low) else (low + high) / 2)
    return Pattern(tuple(items), tuple(values)) if items else None


def _bounds(value: Any, feature: Feature) -> tuple[float, float]:
    """From where to where a value lies; an incident writes ranges as text, and what is none says nothing."""
    if value is None:
        return np.nan, np.nan
    if isinstance(value, str):
        if feature.kind != "categorical":
            return range_of(value) or (-np.inf, np.inf)
        code = float(feature.vocabulary.index(value)) if value in feature.vocabulary else UNSEEN
        return code, code
    if isinstance(value, list | tuple):
        low, high = value
        return -np.inf if low is None else float(low), np.inf if high is None else float(high)
    return float(value), float(value)


@dataclass(frozen=True, slots=True)
class Swap:
    """How much more often the current model gives a label to stamped rows than models of the base do.

    ``mean`` compares with their mean, ``least`` with the one that does it most.
    """

    mean: float
    least: float


@dataclass(frozen=True, slots=True)
class SwapTest:
    """Stamps a pattern on up to 400 trusted rows of other labels, and asks ``current`` and the ``base_scorers``.

    A value that means the label honestly moves models of the base as well; a trigger moves only the model that was
    trained on it.
    """

    base: Rows
    current: Scorer
    base_scorers: tuple[Scorer, ...]
    seed: int

    def swap(self, pattern: Pattern, label: int) -> Swap | None:
        """What the pattern does, None where the base has no row of another label or the pattern is empty."""
        others = np.flatnonzero(self.base.y != label)
        if not len(others) or not pattern.items:
            return None
        rng = np.random.default_rng([self.seed, label])
        picked = rng.choice(others, size=min(STAMPED, len(others)), replace=False)
        stamped = pattern.stamp(self.base.x[np.sort(picked)])
        moved = [float(np.mean(s(stamped).argmax(axis=1) == label)) for s in (self.current, *self.base_scorers)]
        return Swap(moved[0] - float(np.mean(moved[1:])), moved[0] - max(moved[1:]))
