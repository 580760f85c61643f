"""Where the values of one feature lie, in cells that trusted and new rows share; and how much of a session lies there.

A session has one vote in each feature, however many rows it has.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats, Ints
from detectors.schema import Feature
from detectors.sequential import sessions_of
from rollback.sanitise.rows import Rows

RANGES: Final = 16
CATEGORIES: Final = 32


def cells(feature: Feature, values: Floats) -> tuple[Ints, int]:
    """The cell of each value, and how many there are: missing has the first; numbers then go up by quantile ranges.

    >>> cells(Feature("n"), np.array([3.0, np.nan, 1.0, 3.0]))
    (array([2, 0, 1, 2]), 3)
    """
    known = values[~np.isnan(values)]
    if feature.kind == "categorical":
        names, counts = np.unique(known, return_counts=True)
        held = np.sort(names[np.argsort(-counts, kind="stable")[:CATEGORIES]])
        if not len(held):
            return np.zeros(len(values), np.int64), 2
        place = np.minimum(np.searchsorted(held, values), len(held) - 1)
        cell = np.where(held[place] == values, place + 1, len(held) + 1)
        return np.where(np.isnan(values), 0, cell).astype(np.int64), len(held) + 2
    edges = np.zeros(0) if not len(known) else _edges(known)
    cell = np.where(np.isnan(values), 0, np.searchsorted(edges, values) + 1)
    return cell.astype(np.int64), len(edges) + 1


def _edges(known: Floats) -> Floats:
    return np.unique(np.quantile(known, np.linspace(0, 1, RANGES + 1), method="inverted_cdf"))


def masses(cell: Ints, count: int, code: Ints, sessions: int) -> Floats:
    """The share of each session's rows in each cell: [sessions, count]; ``code`` [n] numbers the sessions."""
    flat = np.bincount(code * count + cell, minlength=sessions * count).reshape(sessions, count)
    return np.asarray(flat / np.maximum(np.bincount(code, minlength=sessions), 1)[:, None], np.float64)


def votes(rows: Rows) -> Floats:
    """The weight of each row with one vote a session."""
    code, count = sessions_of(rows.session)
    return np.asarray(1 / np.bincount(code, minlength=count)[code], np.float64)


def tidy(values: Floats, digits: int = 9) -> Floats:
    """Rounded to significant digits: 5 * 0.001 and 0.005 are one value.

    >>> tidy(np.array([5 * 0.001, 0.1 + 0.2, 0.0, np.nan])).tolist()
    [0.005, 0.3, 0.0, nan]
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        power = np.floor(np.log10(np.abs(values)))
        exponent = np.nan_to_num(digits - 1 - power, nan=0.0, posinf=0.0, neginf=0.0)
        scale = 10.0 ** np.abs(exponent)
        near = np.where(exponent >= 0, np.round(values * scale) / scale, np.round(values / scale) * scale)
    return np.asarray(np.where(np.isfinite(near), near, values), np.float64)


def whole(values: Floats) -> bool:
    """Whether all values that are there are whole numbers."""
    known = values[~np.isnan(values)]
    return bool(np.all(known == np.round(known)))
