"""What screens look at: coded rows, and what they find in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeAlias

import numpy as np

from detectors.batch import Bools, Columns, Floats, Ints, Scorer, Strings
from detectors.schema import Schema


@dataclass(frozen=True, slots=True)
class Rows(Columns):
    """Labelled rows: x[n,d] (codes, UNSEEN, NaN missing), y[n] (class indices, none unknown), source and session[n].

    ``origin`` [n] says who labelled a row, ``id`` [n] names it; None where that is not known of any.
    """

    schema: Schema
    x: Floats
    y: Ints
    source: Strings
    session: Strings
    origin: Strings | None = None
    id: Strings | None = None

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """All rows; origin and id only where every part has them."""
        names = parts[0].arrays()
        common = [name for name in names if all(getattr(part, name) is not None for part in parts)]
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in common}
        return replace(parts[0], **{name: columns.get(name) for name in names})  # type: ignore[arg-type]  # by name


Fit: TypeAlias = Callable[[Rows, int], Scorer]
"""Trains a model on rows with a seed; returns x[n,d] -> probabilities[n,k]."""

Progress: TypeAlias = Callable[[str, float], None]
"""Told what is being done and the share of it that is done, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A group of rows that share feature values: ``features`` {name: value, or [low, high]}, of one class label.

    ``source`` is None where the slice is in all of them. ``score`` is what it was found by, ``swap`` the share of
    trusted rows of other classes that the current model moves to ``label`` when the values are stamped on them, minus
    the same for models of the trusted base (None where not measured). ``rows`` counts those it removed.
    ``core`` are the few of these values, or wider ranges ([low, high], None: without end), by which its rows were
    taken: not all of its rows have every one of ``features``. ``shared`` are all values that its rows have in common;
    ``features`` are those of them that do not fit the rest of the rows (all, where each fits).

    For a person who reviews it: the base lets ``expected`` such rows expect; models of the base contradict the label of
    the share ``contradicted`` (p <= .05); ``sources`` {name: rows} sent them. ``held``: it may be a new family, which
    screens cannot tell from poison. ``kept``: too many clean rows would have gone with it, so that its rows are
    trained on all the same, but for those that went one by one, until a person rejects them.
    """

    label: str
    source: str | None
    features: Mapping[str, Any]
    score: float
    rows: int
    swap: float | None = None
    core: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    expected: float | None = None
    contradicted: float | None = None
    sources: Mapping[str, int] = field(default_factory=dict)
    held: bool = False
    kept: bool = False

    @property
    def valued(self) -> bool:
        """Whether it is known by values; else it is what one source sent of the label that is in no such slice."""
        return bool(self.core or self.features)


@dataclass(frozen=True, slots=True)
class Suspects:
    """``rows`` bool[n] that stay although their labels are doubtful; ``rate``: the share of clean rows that are so."""

    rows: Bools
    rate: float


@dataclass(frozen=True, slots=True)
class Sanitised:
    """What the screens said of n new rows.

    ``removed`` bool[n]; ``screen``, ``reason`` and ``score`` [n] are those of the screen that removed a row (empty, NaN
    for a row that stays); ``weight`` float[n] is the training weight of a row that stays, 0 of one that does not.
    ``error_rate`` is the stated share of clean rows that each screen removes. ``base_scorers`` are models fitted on the
    trusted base alone (each on other parts of it): what they disagree about among themselves is noise.
    ``counterexamples`` are more rows to train on: trusted ones with the found pattern stamped on, of their own class.
    ``held_back`` are slices of which none were made, so that a gate can test a candidate by patterns that it was not
    trained against. ``suspects`` are rows that only answers about others can tell from honest ones.
    """

    removed: np.ndarray[Any, np.dtype[np.bool_]]
    screen: Strings
    reason: Strings
    score: Floats
    weight: Floats
    slices: tuple[Slice, ...]
    error_rate: Mapping[str, float]
    base_scorers: tuple[Scorer, ...]
    counterexamples: Rows | None = None
    remarks: tuple[str, ...] = field(default=())
    held_back: tuple[Slice, ...] = ()
    suspects: Suspects | None = None

    def take(self, rows: Bools) -> Self:
        """What was said of some of the rows bool[n]; slices and all else as they are."""
        return replace(
            self,
            removed=self.removed[rows],
            screen=self.screen[rows],
            reason=self.reason[rows],
            score=self.score[rows],
            weight=self.weight[rows],
            suspects=None if self.suspects is None else replace(self.suspects, rows=self.suspects.rows[rows]),
        )
