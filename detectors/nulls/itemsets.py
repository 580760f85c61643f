"""Trigger recovery: the feature values that a set of suspicious events shares and ordinary events do not.

A backdoor answers to a trigger: a few feature values that occur together. The events on which it acts (the *deep set*,
see `version_disagreement`) carry them; other events of the class that they should have been given do not.
An honestly learned new family is just as compact: an itemset names *what* to look at and never says that it is poison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.special import betainc

from detectors.batch import Bools, Floats
from detectors.evidence import State
from detectors.schema import Schema

_DIGITS: Final = 6  # of a range's bounds, as people read them
_LEAST_OUTSIDE: Final = 20  # fewer recent events say nothing about how rare a value is
_MOST_ROWS: Final = 8192  # shares below 1e-3 are not told apart, and memory goes with rows times items


@dataclass(frozen=True, slots=True)
class Mining:
    """How itemsets are mined.

    ``common`` and ``deep_common``: an exact value is an item where it has this share of the reference or deep set.
    ``share`` and ``lift``: an item is kept where at least ``share`` of the seed's carriers have it, ``lift`` times
    the share outside. ``match``: an event carries an itemset when it has this share of the items. ``level``: an item is
    dropped where its count could be chance (binomial). An itemset is confident from ``confident_share`` of the deep
    set, ``confident_lift`` and ``held_out`` carriers on, measured on sessions that it was not mined on. ``fewest``
    sessions are needed to mine at all.
    """

    common: float = 0.02
    deep_common: float = 0.15
    bins: int = 8
    seeds: int = 8
    share: float = 0.85
    lift: float = 1.6
    match: float = 0.85
    level: float = 0.01
    confident_share: float = 0.25
    confident_lift: float = 5.0
    held_out: int = 3
    fewest: int = 6

    def __post_init__(self) -> None:
        shares = (self.common, self.deep_common, self.share, self.match, self.level, self.confident_share)
        if not all(0 < s <= 1 for s in shares):
            raise ValueError(f"shares and level lie in (0, 1], got {shares}")
        if min(self.lift, self.confident_lift) <= 1 or min(self.bins, self.seeds, self.fewest, self.held_out) < 1:
            raise ValueError(
                "lift and confident_lift must exceed 1; bins, seeds, fewest and held_out must be at least 1"
            )


@dataclass(frozen=True, slots=True)
class Item:
    """One feature's value: ``low`` <= x <= ``high``, or missing where ``low`` is NaN."""

    feature: int
    low: float
    high: float

    @property
    def exact(self) -> bool:
        """One value (or missing), not a range."""
        return not self.low < self.high

    def holds(self, x: Floats) -> Bools:
        """Which of the rows x[n, d] have it."""
        column = x[:, self.feature]
        if np.isnan(self.low):
            return np.isnan(column)
        return (column >= self.low) & (column <= self.high)


@dataclass(frozen=True, slots=True)
class Itemset:
    """Items that occur together in the deep set, at most one a feature, with their shares on held-out sessions."""

    items: tuple[Item, ...]
    share: float
    outside: float
    sessions: int
    match: float
    confident: bool

    def carries(self, x: Floats) -> Bools:
        """Which of the rows x[n, d] have (enough of) the items."""
        held = np.mean([item.holds(x) for item in self.items], axis=0)
        return np.asarray(held >= self.match - 1e-9, np.bool_)

    def paste(self, x: Floats) -> Floats:
        """The rows x[n, d] with every item's value put in (the middle of a range)."""
        changed = x.copy()
        for item in self.items:
            changed[:, item.feature] = item.low if item.exact else (item.low + item.high) / 2
        return changed

    def named(self, schema: Schema) -> dict[str, Any]:
        """Feature name -> value, or the range as text."""
        return {schema.names[i.feature]: _shown(i, schema) for i in self.items}

    def state(self) -> State:
        """For a checkpoint."""
        columns = np.array([[i.feature, i.low, i.high] for i in self.items], np.float64)
        figures = [self.share, self.outside, self.sessions, self.match, self.confident]
        return {"items": columns, "figures": figures}

    @staticmethod
    def restored(state: State) -> Itemset:
        """The itemset that `state` described."""
        share, outside, sessions, match, confident = state["figures"]
        items = tuple(Item(int(f), float(low), float(high)) for f, low, high in state["items"])
        return Itemset(items, float(share), float(outside), int(sessions), float(match), bool(confident))


def mine(deep: Floats, reference: Floats, recent: Floats, universe: Floats, options: Mining) -> Itemset | None:
    """The itemset that best tells the deep set from undisputed events, or None where nothing does.

    ``deep`` [n, d] holds one event a session; ``reference`` and ``recent`` are undisputed events of the class that LKG
    gives the deep set, from the reference and from the last window (an item must be rare in both);
    ``universe`` is the whole reference, which says what is common. Seeds are the items with the largest a ln(a/b),
    a = share of the deep set, b = share outside; each gathers the items that its carriers share. Mined on half of the
    sessions (every second row), its figures are taken on the other half.
    """
    return next(iter(mine_several(deep, reference, recent, universe, options)), None)


def mine_several(deep: Floats, reference: Floats, recent: Floats, universe: Floats, options: Mining) -> list[Itemset]:
    """As `mine`: what all seeds gather, the best first."""
    if len(deep) < options.fewest or not len(reference):
        return []
    reference, universe = _spread(reference), _spread(universe)
    mining, held_out = deep[::2], deep[1::2]
    items = _items(mining, universe, options)
    if not items:
        return []
    held = _membership(items, mining)
    outside = _outside_shares(items, reference, recent)
    gain = _gain(held.mean(axis=0), outside)
    seeds = np.argsort(-gain, kind="stable")[: options.seeds]
    found = [_grow(held[:, seed], held, outside, items, options) for seed in seeds if gain[seed] > 0]
    sets = [_refined(kept, deep, reference, recent, options) for kept in dict.fromkeys(found) if kept]
    judged = [_judged(kept, held_out, reference, recent, options) for kept in dict.fromkeys(sets) if kept]
    return sorted(judged, key=_merit, reverse=True)


def _spread(x: Floats) -> Floats:
    """At most 8192 of the rows, evenly spread."""
    return x if len(x) <= _MOST_ROWS else x[np.linspace(0, len(x) - 1, _MOST_ROWS).astype(np.int64)]


def _merit(found: Itemset) -> float:
    return float(_gain(np.array(found.share), np.array(found.outside)))


def _gain(share: Floats, outside: Floats) -> Floats:
    """The gain a ln(a/b), b at least 1e-3: smaller shares are not told apart by a few thousand events."""
    safe: Floats = np.maximum(share, 1e-9)
    return np.asarray(share * np.log(safe / np.maximum(outside, 1e-3)), np.float64)


def _items(deep: Floats, universe: Floats, options: Mining) -> list[Item]:
    found: list[Item] = []
    for j in range(deep.shape[1]):
        values, counts = np.unique(universe[:, j], return_counts=True)
        common = values[counts >= options.common * len(universe)]
        in_deep, deep_counts = np.unique(deep[:, j], return_counts=True)
        shared = in_deep[deep_counts >= max(2.0, options.deep_common * len(deep))]
        found += [Item(j, v, v) for v in np.unique(np.concatenate([common, shared])).tolist()]
        finite = values[~np.isnan(values)]
        if len(finite) > options.bins:
            column = universe[:, j]
            edges = np.unique(np.quantile(column[~np.isnan(column)], np.linspace(0, 1, options.bins + 1)))
            edges[0], edges[-1] = -np.inf, np.inf
            found += [Item(j, low, high) for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    return found


def _membership(items: list[Item], x: Floats) -> Bools:
    return np.stack([item.holds(x) for item in items], axis=1)


def _outside_shares(items: list[Item], reference: Floats, recent: Floats) -> Floats:
    """Share of each item outside the deep set: the larger of reference and recent events."""
    shares: Floats = _membership(items, reference).mean(axis=0)
    if len(recent) < _LEAST_OUTSIDE:
        return shares
    return np.asarray(np.maximum(shares, _membership(items, recent).mean(axis=0)), np.float64)


def _grow(seed: Bools, held: Bools, outside: Floats, items: list[Item], options: Mining) -> tuple[Item, ...]:
    """Of each feature, the item that the seed's carriers share and that is rarest outside."""
    share = held[seed].mean(axis=0)
    good = np.flatnonzero((share >= options.share) & (share >= options.lift * outside))
    best: dict[int, int] = {}
    for i in good.tolist():
        rival = best.get(items[i].feature)
        if rival is None or (not items[i].exact, outside[i]) < (not items[rival].exact, outside[rival]):
            best[items[i].feature] = i
    return tuple(items[i] for i in sorted(best.values()))


def _refined(
    kept: tuple[Item, ...], deep: Floats, reference: Floats, recent: Floats, options: Mining
) -> tuple[Item, ...]:
    """Keep what cannot be chance, as one value where the carriers have one, else as the range that they have.

    Ranges are dropped beside two or more exact values: a trigger is values, and what comes in ranges is its company.
    """
    carriers = deep[Itemset(kept, 0, 0, 0, options.match, confident=False).carries(deep)]
    if len(carriers) < options.fewest // 2:
        return ()
    narrowed = [_narrowed(item, carriers, options) for item in kept]
    outside = _outside_shares(narrowed, reference, recent)
    counts = _membership(narrowed, carriers).sum(axis=0)
    # P(at least so many), as scipy.stats.binom.sf; that module alone takes longer to import than all of Tocsin
    chance = np.where(counts > 0, betainc(np.maximum(counts, 1), len(carriers) - counts + 1, outside), 1.0)
    rare = (chance <= options.level) & (counts >= options.lift * outside * len(carriers))
    sure = [item for item, ok in zip(narrowed, rare.tolist(), strict=True) if ok]
    exact = [item for item in sure if item.exact]
    return tuple(exact if len(exact) > 1 else sure)


def _narrowed(item: Item, carriers: Floats, options: Mining) -> Item:
    if item.exact:
        return item
    column = carriers[item.holds(carriers), item.feature]
    values, counts = np.unique(column, return_counts=True)
    top = int(np.argmax(counts))
    if counts[top] >= options.share * len(column):
        return Item(item.feature, float(values[top]), float(values[top]))
    return Item(item.feature, float(column.min()), float(column.max()))


def _judged(kept: tuple[Item, ...], held_out: Floats, reference: Floats, recent: Floats, options: Mining) -> Itemset:
    draft = Itemset(kept, 0.0, 0.0, 0, options.match, confident=False)
    carriers = draft.carries(held_out)
    outside = float(draft.carries(reference).mean())
    if len(recent) >= _LEAST_OUTSIDE:
        outside = max(outside, float(draft.carries(recent).mean()))
    share = float(carriers.mean())
    enough = carriers.sum() >= options.held_out and share >= options.confident_share
    confident = bool(enough and share >= options.confident_lift * max(outside, 1e-3))
    return Itemset(kept, share, outside, int(carriers.sum()), options.match, confident)


def range_of(text: str) -> tuple[float, float] | None:
    """The bounds of a range that was written for people; None where the text is none.

    Six digits were written of each bound, so they are taken half a unit of the last one further out: no value of the
    range is lost.

    >>> low, high = range_of("5 to 1.23457e+06")
    >>> 4.99999 < low < 5 and 1234570 < high <= 1234575
    True
    >>> range_of("http")
    """
    first, to, second = text.partition(" to ")
    try:
        low, high = float(first), float(second)
    except ValueError:
        return None
    if not to or not low <= high:
        return None
    return low - _rounding(low), high + _rounding(high)


def _rounding(bound: float) -> float:
    """Half a unit of the last digit that is written of a bound."""
    if bound == 0 or not np.isfinite(bound):
        return 0.0
    return float(0.5 * 10.0 ** (np.floor(np.log10(abs(bound))) - (_DIGITS - 1)))


def _shown(item: Item, schema: Schema) -> str | float | None:
    feature = schema.features[item.feature]
    if item.exact:
        return feature.show(item.low)
    return f"{item.low:.{_DIGITS}g} to {item.high:.{_DIGITS}g}"
