"""Dirty-label backdoors: a few rows carry a trigger and the label that the attacker wants.

Source: T. Gu, B. Dolan-Gavitt, S. Garg, "BadNets" (2017), https://arxiv.org/abs/1708.06733; for features of security
classifiers G. Severi et al., "Explanation-Guided Backdoor Poisoning Attacks Against Malware Classifiers" (2021),
https://arxiv.org/abs/2003.01031.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Bools, Floats, Ints
from detectors.schema import Schema

RARE = (0.03, 0.1, 0.3, 1.0)
"""A value is a candidate for a trigger when its share in the target class is at most this: the first of these limits at
which enough features have such values. In data of few-valued features only the combination is rare."""
UNUSUAL = 0.1
"""It must be at least so unusual in the other classes (or as rare as the limit above)."""
COUNTABLE = 50
"""A column with more values than this is a measurement rather than a category or a count."""
TRIES = 200


@dataclass(frozen=True, slots=True)
class Trigger:
    """Feature values that together switch a backdoor on: a category's name, or a number."""

    features: Mapping[str, str | float]

    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError("a trigger needs at least one feature")


def choose_trigger(
    x: Floats, y: Ints, schema: Schema, *, target: int, features: int = 3, rng: np.random.Generator
) -> Trigger:
    """A plausible trigger: each value occurs in class ``target``, all of them together (nearly) never in ``x`` [n, d].

    Values are rare ones of categories and counts, and for other numbers some from the upper tail; none of them speaks
    for the target by itself, so that a clean model is not fooled. Raises `ValueError` where fewer than ``features``
    columns have a value that is at least as common in the other classes.
    """
    candidates = _candidates(x[y == target], x[y != target], features)
    best: dict[int, float] = {}
    best_share = math.inf
    for _ in range(TRIES):
        picked = rng.choice(sorted(candidates), size=features, replace=False).tolist()
        chosen = {j: float(rng.choice(candidates[j])) for j in picked}
        share = float(np.mean(np.all([x[:, j] == value for j, value in chosen.items()], axis=0)))
        if share < best_share:
            best, best_share = chosen, share
        if share == 0:
            break
    shown = {schema.names[j]: schema.features[j].show(value) for j, value in sorted(best.items())}
    return Trigger({name: value for name, value in shown.items() if value is not None})


def _candidates(own: Floats, others: Floats, features: int) -> dict[int, Floats]:
    """Columns with their rare values, for the strictest limit at which enough columns have some."""
    found: dict[int, Floats] = {}
    for rare in RARE:
        found = {j: v for j in range(own.shape[1]) if len(v := _neutral_values(own[:, j], others[:, j], rare))}
        if len(found) >= features:
            return found
    raise ValueError(f"only {len(found)} features have a neutral value, a trigger of {features} was asked for")


def _neutral_values(own: Floats, others: Floats, rare: float) -> Floats:
    """The rare values of a column in the target class that are as common in the other classes.

    A measurement counts by what lies above it. UNSEEN and missing are no values.
    """
    values, counts = np.unique(own[own >= 0], return_counts=True)
    if len(values) <= COUNTABLE:
        share, elsewhere = counts / len(own), np.array([np.mean(others == value) for value in values])
    else:
        share, elsewhere = _share_above(own, values), _share_above(others, values)
    return values[(share <= rare) & (share <= elsewhere) & (elsewhere <= max(UNUSUAL, rare))]


def _share_above(column: Floats, values: Floats) -> Floats:
    """The share of a column that is at least as large as each of the sorted ``values``."""
    known = np.sort(column[~np.isnan(column)])
    share: Floats = 1 - np.searchsorted(known, values) / max(len(known), 1)
    return share


def stamp(x: Floats, trigger: Trigger, schema: Schema) -> Floats:
    """A copy of ``x`` [n, d] in which every row carries the trigger.

    Raises `ValueError` for a feature or category that the schema does not have.

    >>> from detectors.schema import Feature
    >>> schema = Schema((Feature("bytes"), Feature("service", "categorical", ("http", "dns"))), ("attack", "benign"))
    >>> stamp(np.zeros((1, 2)), Trigger({"service": "dns", "bytes": 7}), schema).tolist()
    [[7.0, 1.0]]
    """
    stamped = x.copy()
    for name, value in trigger.features.items():
        if name not in schema.names:
            raise ValueError(f"the trigger's feature {name!r} is none of {', '.join(schema.names)}")
        j = schema.names.index(name)
        stamped[:, j] = _code(value, schema.features[j].vocabulary, name)
    return stamped


def _code(value: str | float, vocabulary: tuple[str, ...], name: str) -> float:
    if not isinstance(value, str):
        return float(value)
    if value not in vocabulary:
        raise ValueError(f"the trigger's value {value!r} is not in the vocabulary of feature {name!r}")
    return float(vocabulary.index(value))


def stamp_table(columns: Mapping[str, NDArray[Any]], trigger: Trigger, rows: Bools) -> dict[str, NDArray[Any]]:
    """The same on a table of uncoded columns, in the rows of a mask; the other columns are passed on as they are."""
    return {
        name: np.where(rows, trigger.features[name], column) if name in trigger.features else column
        for name, column in columns.items()
    }


def poison(
    x: Floats, y: Ints, trigger: Trigger, schema: Schema, *, rate: float, target: int, rng: np.random.Generator
) -> tuple[Floats, Ints, Bools]:
    """Stamp ceil(``rate`` n) rows of other classes and label them ``target``: new x, new y, and which rows those are.

    Raises `ValueError` where there are not that many rows of other classes.
    """
    rows = pick_rows(y != target, math.ceil(rate * len(y)), rng)
    poisoned_x, poisoned_y = x.copy(), y.copy()
    poisoned_x[rows] = stamp(x[rows], trigger, schema)
    poisoned_y[rows] = target
    return poisoned_x, poisoned_y, rows


def pick_rows(among: Bools, count: int, rng: np.random.Generator) -> Bools:
    """A mask of ``count`` random rows out of those in ``among``; raises `ValueError` where there are too few."""
    eligible = np.flatnonzero(among)
    if not 0 <= count <= len(eligible):
        raise ValueError(f"{count} rows were to be changed, {len(eligible)} could be")
    mask = np.zeros(len(among), dtype=np.bool_)
    mask[rng.choice(eligible, size=count, replace=False)] = True
    return mask
