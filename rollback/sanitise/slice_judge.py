"""Which slices are removed, and how much of the new rows each of them takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from detectors.batch import Bools
from detectors.nulls.itemsets import Item
from rollback.sanitise.case import Case
from rollback.sanitise.pair_excess import Comparison, Scope
from rollback.sanitise.pattern import Pattern, Swap, SwapTest, named, shared_pattern
from rollback.sanitise.rows import Slice
from rollback.sanitise.slice_changed import changed
from rollback.sanitise.slice_foreign import LOW_P, ForeignCells, low_sessions
from rollback.sanitise.slice_search import Core, SliceSearch

ONE_SOURCE = 0.9
"""A slice is that of a source when this share of its rows comes from there."""
CLEAR_SWAP = 0.7
"""A new benign family reached .66, so that a smaller swap does not tell it from poison."""
FEWEST_PLANTED = 20
MOST_CHANCE = 0.5
"""Of a slice's rows so many may be honest, for what the others share to be read from them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a slice may take.

    A weak slice is removed where the current model answers to it by ``swap`` more than any model of the base. A slice
    removes at most the share ``most`` of the new rows, of which at least the share ``purity`` must be in excess; at
    most ``slices`` are removed a label, out of ``tests``.
    """

    swap: float = 0.3
    most: float = 0.1
    purity: float = 0.5
    slices: int = 16
    tests: int = 32

    def __post_init__(self) -> None:
        if not all(0 < share <= 1 for share in (self.swap, self.most, self.purity)):
            raise ValueError(f"swap, most and purity lie in (0, 1], got {self.swap}, {self.most} and {self.purity}")
        if not 1 <= self.slices <= self.tests:
            raise ValueError(f"need 1 <= slices <= tests, got {self.slices} and {self.tests}")


@dataclass(frozen=True, slots=True)
class Found:
    """A slice and its rows bool[n] of the new ones, which go unless it is ``slice.kept``.

    ``swap`` is 0 where it could not be measured.
    """

    slice: Slice
    pattern: Pattern
    rows: Bools
    swap: float
    hinted: bool = False


class Judge:
    """Decides on the slices of one label; ``strict`` is the z that chance seldom reaches."""

    def __init__(
        self,
        case: Case,
        comparison: Comparison,
        label: int,
        items: list[Item],
        limits: Limits,
        strict: float,
        foreign: ForeignCells,
    ) -> None:
        self._case = case
        self._comparison = comparison
        self._label = label
        self._items = items
        self._limits = limits
        self._strict = strict
        self._foreign = foreign
        self._own = np.flatnonzero(case.new.y == label)
        self._p = case.new_p[self._own]
        self._session = case.new.session[self._own]
        self._test = SwapTest(case.base, case.current, case.base_scorers, case.seed)

    def slices(self, search: SliceSearch, least: float, remarks: list[str]) -> Iterator[Found]:
        """Slices whose pair has z >= ``least`` that pass the swap test, or are strict and contradicted or foreign.

        One that would take too many clean rows with it is yielded as ``kept``. A remark says where more are left than
        are looked at.
        """
        removed = 0
        for _ in range(self._limits.tests):
            core = search.next()
            if core is None or core.pair_z < least:
                return
            if removed == self._limits.slices:
                break
            members = self._comparison.new.carriers(core.items)
            carriers = members & core.scope.rows(self._comparison.new) & search.left
            pattern = self._pattern(core, carriers)
            swap = self._test.swap(pattern, self._label)
            effective = swap is not None and swap.least >= self._limits.swap
            strict = core.pair_z >= self._strict
            accepted = effective or (
                strict and (self._contradicts(members) or self._planted(core, members & search.left))
            )
            search.set_aside(members if accepted else carriers)
            if not accepted:
                continue
            rows = self._narrowed(core, members)
            x = self._case.new.x[self._own[carriers]]
            foreign = changed(pattern, x, self._case.base, self._case.rng("changed"))
            one = self._slice(core, (pattern, foreign), swap, carriers if rows is None else rows)
            if rows is None:
                remarks.append(f"not removed, because too many clean rows would go with it: {describe(one)}")
                yield Found(replace(one, held=True, kept=True), pattern, self._whole(carriers), 0.0)
                continue
            removed += 1
            yield Found(one, pattern, self._whole(rows), 0.0 if swap is None else swap.mean)
        core = search.next()
        if core is not None and core.pair_z >= least:
            remarks.append(self._unseen(core))

    def _unseen(self, core: Core) -> str:
        """That there is more than is looked at: whoever sends many slices could hide one behind the others."""
        return (
            f"not all slices labelled {self._case.new.schema.classes[self._label]} were looked at, only those most in "
            f"excess ({self._limits.tests} at most, of which {self._limits.slices} may go); the next one has an excess "
            f"of {core.pair_z:.1f}"
        )

    def _contradicts(self, members: Bools) -> bool:
        """Whether models of the trusted base contradict the labels of the slice's rows more than chance allows.

        See `slice_foreign.low_sessions`. Natural drift brings rows of known kinds in other numbers: an excess that
        nothing contradicts, of rows that fit themselves, and that moves no decision is news, not poison.
        """
        return low_sessions(self._p[members], self._session[members])

    def _planted(self, core: Core, members: Bools) -> bool:
        """Whether the cells of the slice's rows do not fit these rows; in the core's source, if it has one.

        A new family's cells may not fit either, so that a person has to say, which fewer rows are not worth. Attacks
        that change would be held with every drift, so that this protects the benign class alone.
        """
        if self._label != self._case.benign:
            return False
        rows = members & Scope(core.scope.source, low=False).rows(self._comparison.new)
        taken = self._narrowed(core, members)
        fewest = min(int(part.sum()) for part in (rows, rows if taken is None else taken))
        return fewest >= FEWEST_PLANTED and self._foreign.beyond_chance(self._whole(rows))

    def _pattern(self, core: Core, carriers: Bools) -> Pattern:
        items = tuple(self._items[i] for i in core.items)
        base, trusted = self._case.base, self._comparison.base.carriers(core.items)
        votes = self._comparison.new.total(carriers)
        chance = min(self._comparison.expected(core.scope, trusted) / max(votes, 1e-9), MOST_CHANCE)
        honest = base.x[base.y == self._label][trusted]
        return shared_pattern(items, self._case.new.x[self._own[carriers]], base.x, honest, chance)

    def _narrowed(self, core: Core, members: Bools) -> Bools | None:
        """The core's rows in its own scope, and in wider ones where those that join are mostly excess as well.

        None where there is no scope in which they are, or where they are too many.
        """
        comparison, own = self._comparison, core.scope
        trusted = comparison.base.carriers(core.items)
        found: Bools | None = None
        explained = 0.0
        for scope in dict.fromkeys((own, Scope(own.source, low=False), Scope(None, low=False))):
            rows = members & scope.rows(comparison.new)
            if found is not None and not (rows & ~found).any():
                continue
            more = comparison.new.total(rows if found is None else rows & ~found)
            expected = comparison.expected(scope, trusted)
            pure = more - max(expected - explained, 0.0) >= self._limits.purity * more
            if more and pure and rows.sum() <= self._limits.most * len(self._case.new):
                found, explained = rows, expected
        return found

    def _slice(self, core: Core, patterns: tuple[Pattern, Pattern], swap: Swap | None, rows: Bools) -> Slice:
        """The slice of ``rows`` [n of the label]; ``patterns`` are all that they share, and what of it is foreign."""
        new = self._case.new
        names, counts = np.unique(new.source[self._own[rows]], return_counts=True)
        shared, foreign = (pattern.named(new.schema) for pattern in patterns)
        trusted = self._comparison.base.carriers(core.items)
        return Slice(
            label=new.schema.classes[self._label],
            source=str(names[counts.argmax()]) if counts.max() >= ONE_SOURCE * counts.sum() else None,
            features=foreign,
            score=core.z,
            rows=int(rows.sum()),
            swap=None if swap is None else swap.mean,
            core=named([self._items[i] for i in core.items], new.schema),
            shared=shared,
            expected=float(self._comparison.expected(core.scope, trusted)),
            contradicted=float(np.mean(self._p[rows] <= LOW_P)),
            sources=dict(zip(names.tolist(), counts.tolist(), strict=True)),
        )

    def _whole(self, rows: Bools) -> Bools:
        """A mask over all new rows, from one over those of the label."""
        mask = np.zeros(len(self._case.new), np.bool_)
        mask[self._own[rows]] = True
        return mask


def describe(one: Slice) -> str:
    """A slice in words."""
    shown = ", ".join(f"{name}={value}" for name, value in list(one.features.items())[:6])
    more = f" and {len(one.features) - 6} more" if len(one.features) > 6 else ""  # noqa: PLR2004 - as many are shown
    where = "" if one.source is None else f" of source {one.source}"
    if not one.valued:
        return f"{one.rows} rows{where} labelled {one.label} contradict the trusted base (excess {one.score:.1f})"
    swap = "" if one.swap is None else f", swap {one.swap:.2f}"
    return f"{one.rows} rows{where} labelled {one.label} share {shown}{more} (excess {one.score:.1f}{swap})"


def like_a_family(one: Slice) -> bool:
    """Whether a slice may be something honest and new, which a person has to say, however few rows it has."""
    return (one.swap or 0.0) < CLEAR_SWAP


def family_remark(one: Slice) -> str:
    """What a person is told of it."""
    return (
        f"may be a new benign family rather than poison; have some of its rows vetted before promotion: {describe(one)}"
    )
