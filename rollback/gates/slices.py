"""Groups of holdout rows in which harm may hide: those of one class that share a value, a range or a source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Bools
from rollback.sanitise.rows import Rows

FEWEST: Final = 20
"""Rows that a group needs."""
BINS: Final = 4
"""A numeric column is cut into so many ranges of as many rows each."""
FEW_VALUES: Final = 8
"""A numeric column of at most so many values is cut by value."""


@dataclass(frozen=True, slots=True)
class Groups:
    """``member`` bool[G, n] says which rows each of G groups has, ``names`` [G] what they share."""

    names: tuple[str, ...]
    member: Bools


def groups(rows: Rows) -> Groups:
    """Every class alone, and its rows by category, quantile bin, missing value and source."""
    found: dict[str, Bools] = {}
    for label in np.unique(rows.y).tolist():
        own = rows.y == label
        name = rows.schema.classes[label]
        found[name] = own
        for what, inside in _divisions(rows).items():
            if FEWEST <= np.count_nonzero(own & inside) < np.count_nonzero(own):
                found[f"{name}, {what}"] = own & inside
    member = np.array(list(found.values())) if found else np.zeros((0, len(rows)), np.bool_)
    return Groups(tuple(found), member)


def _divisions(rows: Rows) -> dict[str, Bools]:
    found: dict[str, Bools] = {f"source {s}": rows.source == s for s in np.unique(rows.source).tolist()}
    for j, feature in enumerate(rows.schema.features):
        column = rows.x[:, j]
        missing = np.isnan(column)
        found[f"{feature.name} missing"] = missing
        values = np.unique(column[~missing])
        if feature.kind == "categorical" or len(values) <= FEW_VALUES:
            found |= {f"{feature.name} {feature.show(v)}": column == v for v in values.tolist()}
            continue
        cuts = np.unique(np.quantile(column[~missing], np.arange(1, BINS) / BINS))
        which = np.where(missing, -1, np.searchsorted(cuts, column, side="left"))
        found |= {f"{feature.name} {_range(cuts, b)}": which == b for b in range(len(cuts) + 1)}
    return found


def _range(cuts: np.ndarray[tuple[int], np.dtype[np.float64]], b: int) -> str:
    if b == 0:
        return f"at most {cuts[0]:g}"
    return f"above {cuts[-1]:g}" if b == len(cuts) else f"from {cuts[b - 1]:g} to {cuts[b]:g}"
