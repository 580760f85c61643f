"""What screens look at: coded rows, and what they find in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from detectors.batch import Columns, Floats, Ints, Scorer, Strings
from detectors.schema import Schema


@dataclass(frozen=True, slots=True)
class Rows(Columns):
    """Labelled rows: x[n,d] (codes, UNSEEN, NaN missing), y[n] (class indices, none unknown), source and session[n]."""

    schema: Schema
    x: Floats
    y: Ints
    source: Strings
    session: Strings


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
    taken: not all of its rows have every one of ``features``.
    """

    label: str
    source: str | None
    features: Mapping[str, Any]
    score: float
    rows: int
    swap: float | None = None
    core: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sanitised:
    """What the screens said of n new rows.

    ``removed`` bool[n]; ``screen``, ``reason`` and ``score`` [n] are those of the screen that removed a row (empty, NaN
    for a row that stays); ``weight`` float[n] is the training weight of a row that stays, 0 of one that does not.
    ``error_rate`` is the stated share of clean rows that each screen removes. ``base_scorers`` are models fitted on the
    trusted base alone (each on other parts of it): what they disagree about among themselves is noise.
    ``counterexamples`` are more rows to train on: trusted ones with the found pattern stamped on, of their own class.
    ``held_back`` are slices whose patterns no counterexample carries, so that the gate can try them on the candidate.
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
    held_back: tuple[Slice, ...] = ()
    remarks: tuple[str, ...] = field(default=())
