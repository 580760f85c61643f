"""A site that serves a classifier: what the good model learned, the trusted reference, and traffic without end.

Events come in sessions of near-duplicates from twelve sources, each with its own taste of kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np

from detectors.batch import Bools, Columns, Floats, Ints, Strings
from detectors.schema import Schema
from separation.models import Family, Fitted, fit
from separation.tables import Rows

SOURCES: Final = 12
ANALYSTS: Final = 4
_JITTER: Final = 0.03
_DISTINCT: Final = 50


@dataclass(frozen=True, slots=True)
class Events(Columns):
    """Events with the truth about them: class ``y``, ``kind``, and whether an attacker made or touched them."""

    x: Floats
    y: Ints
    kind: Strings
    source: Strings
    session: Strings
    touched: Bools


@dataclass(frozen=True, slots=True)
class Parts:
    """Rows of a data set by use; no row has two. Larger data sets give at most what an episode needs."""

    train: Ints
    reference: Ints
    new: Ints
    stream: Ints


def divide(rows: Rows, rng: np.random.Generator) -> Parts:
    """30% each (12,000 and 8,000 at most) for training and retraining, 17% (4,000) for the reference, the rest."""
    order = rng.permutation(len(rows))
    limits = ((0.3, 12_000), (0.17, 4_000), (0.3, 8_000))
    sizes = np.cumsum([min(int(share * len(rows)), most) for share, most in limits])
    train, reference, new, stream = np.split(order, sizes)
    return Parts(train, reference, new, stream[:20_000])


class World:
    """One seed's site. ``without`` kinds are unknown to the good model and to the reference."""

    def __init__(self, rows: Rows, family: Family, seed: int, without: Sequence[str] = ()) -> None:
        self.rows, self.family, self.seed, self.without = rows, family, seed, tuple(without)
        self.parts = divide(rows, np.random.default_rng([seed, 2]))
        taste = np.random.default_rng([seed, 3])
        names = sorted(set(rows.kind.tolist()))
        self._taste: Mapping[str, Floats] = {name: taste.dirichlet(np.full(SOURCES, 4.0)) for name in names}
        self._jitters = np.array([_measured(rows.x[:, j]) for j in range(rows.x.shape[1])])
        self._whole = np.array([np.all(np.nan_to_num(c) == np.floor(np.nan_to_num(c))) for c in rows.x.T])

    @property
    def schema(self) -> Schema:
        """Of all versions."""
        return self.rows.schema

    @cached_property
    def train_rows(self) -> Ints:
        """What the good model learned."""
        return self.known(self.parts.train)

    @cached_property
    def good(self) -> Fitted:
        """Last known good."""
        return self.fit(self.rows.x[self.train_rows], self.rows.y[self.train_rows], self.seed)

    @cached_property
    def reference(self) -> Events:
        """The vetted reference: about 12,000 events in sessions of three."""
        base = self.known(self.parts.reference)
        return self.sessions(base, 3 * len(base), np.random.default_rng([self.seed, 4]), mean=3.0, name="r")

    def known(self, rows: Ints) -> Ints:
        """Those that are not of an unknown kind."""
        return rows[~np.isin(self.rows.kind[rows], self.without)]

    def fit(self, x: Floats, y: Ints, seed: int) -> Fitted:
        """A model of this site's family."""
        return fit(self.family, self.schema, x, y, seed)

    def sessions(
        self,
        base: Ints,
        events: int,
        rng: np.random.Generator,
        *,
        mean: float = 6.0,
        weight: Floats | None = None,
        name: str = "s",
    ) -> Events:
        """``events`` events in sessions of ``mean``: each repeats a row of ``base`` (drawn by ``weight``) nearly."""
        sizes = rng.geometric(1 / mean, events)
        sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), events)) + 1]
        p = None if weight is None else weight / weight.sum()
        enough = len(sizes) <= len(base) and weight is None
        rows = rng.choice(base, len(sizes), replace=not enough, p=p)
        of = np.repeat(np.arange(len(sizes)), sizes)[:events]
        kind = self.rows.kind[rows]
        source = np.array([rng.choice(SOURCES, p=self._taste[k]) for k in kind.tolist()])
        return Events(
            self.near(self.rows.x[rows][of], rng),
            self.rows.y[rows][of],
            kind[of],
            np.char.add("sensor-", source.astype(np.str_))[of],
            np.char.add(name, of.astype(np.str_)),
            np.zeros(events, np.bool_),
        )

    def near(self, x: Floats, rng: np.random.Generator) -> Floats:
        """Near-duplicates: measurements vary by a few percent, counts in proportion, everything else not at all."""
        factor = np.where(self._jitters, np.exp(_JITTER * rng.standard_normal(x.shape)), 1.0)
        moved = x * factor
        return np.where(self._whole, np.round(moved), moved)

    def kinds(self, *, benign: bool, least: float = 0.01) -> list[str]:
        """Kinds of benign (or other) rows that hold at least this share of all rows and leave others of the class."""
        own = (self.rows.y == self.rows.benign) == benign
        names, counts = np.unique(self.rows.kind[own], return_counts=True)
        fit_for = (counts >= least * len(self.rows)) & (counts <= 0.6 * own.sum())
        return sorted(names[fit_for].tolist())


def touched(events: Events, x: Floats, rows: Bools, y: Ints | None = None) -> Events:
    """The events with the attacker's features in some rows (their true class stays, unless given)."""
    return replace(events, x=x, touched=events.touched | rows, y=events.y if y is None else y)


def _measured(column: Floats) -> bool:
    return len(np.unique(column[~np.isnan(column)])) > _DISTINCT


@dataclass(frozen=True, slots=True)
class Setting:
    """What a scenario is given: a data set, a model family, a seed. Worlds are made once."""

    rows: Rows
    family: Family
    seed: int
    _made: dict[tuple[str, ...], World] = field(default_factory=dict)

    def world(self, without: Sequence[str] = ()) -> World:
        """The site of this seed, where the good model does not know some kinds."""
        key = tuple(sorted(without))
        if key not in self._made:
            self._made[key] = World(self.rows, self.family, self.seed, key)
        return self._made[key]

    def rng(self, *salt: int) -> np.random.Generator:
        """Random numbers of this seed, for one purpose."""
        return np.random.default_rng([self.seed, 100, *salt])
