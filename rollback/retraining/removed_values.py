"""Values that rows which screens remove one by one have in common: the parts of a trigger that no row has whole.

A slice has to share its values in each of its rows. The rows of a split trigger do not: each carries a part. What they
all come from tells: a source, a label, and the class that models of the trusted base see in them. Beside honest rows of
that class their foreign values stand out, and the union of these is the trigger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import binom

from detectors.batch import Bools, Ints, Scorer, Strings
from rollback.gates.pattern import Pattern
from rollback.sanitise.rows import Rows, Slice
from rollback.sanitise.sanitise import canonical

FEWEST: Final = 5
"""Sessions that a group needs."""
CARRIERS: Final = 3
"""Sessions that have to carry a value."""
LEVEL: Final = 0.01
"""A value stands out where so many carriers come with at most this chance, Bonferroni over all that were counted."""
COMPANIONS: Final = 20
"""So many kept rows of the same source are compared with as well."""
MOST: Final = 4
"""Unions that are tried, of the largest groups."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows bool[n] that were removed from one ``source`` (None: all) under a ``label``, that look like ``seen``."""

    source: str | None
    label: int
    seen: int
    rows: Bools


@dataclass(frozen=True, slots=True)
class Standing:
    """A value of a column that a group has too often, and the chance of that."""

    column: int
    value: float
    p: float


def removed_patterns(removed: Bools, models: Sequence[Scorer], base: Rows, new: Rows) -> tuple[Pattern, ...]:
    """A pattern a group of the ``removed`` [n] rows with values that stand out: of each column the one that does most.

    ``models`` of the base say what a row looks like.

    Null of a value: a session of the group carries it as often as one of the trusted rows, and of the kept rows of the
    same source, of the class that the group looks like; one row of each session counts. Screens remove odd rows, so
    that this chooses what to try, and is no evidence by itself.
    """
    order = canonical(new)  # what is first of a session may not depend on where it stands
    removed, new = removed[order], new.take(order)
    groups = list(_groups(removed, models, new))
    counted = [(g, _standing(g, removed, base, new)) for g in groups]
    tests = max(sum(tried for _, (tried, _) in counted), 1)
    named: list[tuple[int, Pattern]] = []
    known: set[tuple[int, tuple[int, ...], tuple[float, ...]]] = set()
    for group, (_, values) in counted:
        best: dict[int, Standing] = {}
        for one in values:
            if one.p * tests <= LEVEL and (one.column not in best or one.p < best[one.column].p):
                best[one.column] = one
        columns = tuple(sorted(best))
        key = (group.label, columns, tuple(best[j].value for j in columns))
        if columns and key not in known:
            known.add(key)
            named.append((int(group.rows.sum()), Pattern("", *key)))
    named.sort(key=lambda pair: -pair[0])
    return tuple(Pattern(f"{i}", p.target, p.columns, p.values) for i, (_, p) in enumerate(named[:MOST], start=1))


def of_a_confirmed_kind(new: Rows, confirmed: Iterable[Slice]) -> Bools:
    """The new rows bool[n] with the label, and of the source, of a slice that answers have ``confirmed``.

    What they have in common is news, which a candidate that has learned it may answer to.
    """
    known = np.zeros(len(new), np.bool_)
    for one in confirmed:
        own = new.y == new.schema.classes.index(one.label)
        known |= own if one.source is None else own & (new.source == one.source)
    return known


def _groups(removed: Bools, models: Sequence[Scorer], new: Rows) -> Iterator[Group]:
    """The removed rows by label and what the models see in them, of each source and of all."""
    at = np.flatnonzero(removed)
    if not len(at) or not models:
        return
    seen = np.mean([m(new.x[at]) for m in models], axis=0).argmax(axis=1)
    for source in [None, *np.unique(new.source[at]).tolist()]:
        own = np.ones(len(at), np.bool_) if source is None else new.source[at] == source
        for label, look in sorted({*zip(new.y[at][own].tolist(), seen[own].tolist(), strict=True)}):
            rows = np.zeros(len(new), np.bool_)
            rows[at[own & (new.y[at] == label) & (seen == look)]] = True
            if len(np.unique(new.session[rows])) >= FEWEST:
                yield Group(source, label, look, rows)


def _standing(group: Group, removed: Bools, base: Rows, new: Rows) -> tuple[int, list[Standing]]:
    """How many values were counted, and the chance of each."""
    own = new.x[_one_each(np.flatnonzero(group.rows), new.session)]
    place = np.ones(len(new), np.bool_) if group.source is None else new.source == group.source
    near = new.x[place & ~removed & (new.y == group.seen)]
    beside = [base.x[base.y == group.seen], *([near] if len(near) >= COMPANIONS else [])]
    values, tried = [], 0
    for j in range(own.shape[1]):
        some, counts = np.unique(own[own[:, j] >= 0, j], return_counts=True)
        tried += len(some)
        for value, count in zip(some.tolist(), counts.tolist(), strict=True):
            if count >= CARRIERS:
                share = max((np.sum(x[:, j] == value) + 1) / (len(x) + 1) for x in beside)
                values.append(Standing(j, value, float(binom.sf(count - 1, len(own), min(share, 1.0)))))
    return tried, values


def _one_each(at: Ints, session: Strings) -> Ints:
    """The first row of each session."""
    return at[np.sort(np.unique(session[at], return_index=True)[1])]
