"""Whether a row looks like trusted rows of the label that it carries, feature by feature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.batch import Floats
from detectors.schema import Schema
from rollback.sanitise.rows import Rows


@dataclass(frozen=True, slots=True)
class Parameters:
    """A number beyond the ``tail`` quantiles of trusted rows is odd; a row odder than ``level`` of them weighs less.

    A label with fewer than ``fewest`` trusted rows says nothing.
    """

    tail: float = 0.005
    level: float = 0.05
    fewest: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.tail < 0.5 or not 0 < self.level < 1 or self.fewest < 1:  # noqa: PLR2004 - half on each side
            raise ValueError("tail: in (0, .5), level: in (0, 1), fewest: at least 1")


def consistency(base: Rows, new: Rows, parameters: Parameters | None = None) -> Floats:
    """A weight in (0, 1] for each new row.

    A row's count is that of its odd values: numbers outside the trusted rows of its label, categories that these never
    have. Its conformal p is the share of trusted rows of the label with at least that count; the weight is
    min(1, p / level). Null: rows that are drawn like the trusted ones; about ``level`` of them weigh less than 1, and
    together they lose about ``level`` / 2 of their weight (quantiles and counts are of the same rows, so that a little
    more is lost where these are few).
    """
    p = parameters or Parameters()
    weight = np.ones(len(new))
    for label in np.unique(new.y).tolist():
        known, rows = base.x[base.y == label], new.y == label
        if len(known) < p.fewest:
            continue
        counts = np.sort(_odd(known, known, new.schema, p.tail))
        at_least = len(known) - np.searchsorted(counts, _odd(known, new.x[rows], new.schema, p.tail), side="left")
        weight[rows] = np.minimum(1.0, (1 + at_least) / (len(known) + 1) / p.level)
    return weight


def _odd(known: Floats, x: Floats, schema: Schema, tail: float) -> Floats:
    """How many values of each row of ``x`` are odd among those of the ``known`` rows."""
    count = np.zeros(len(x))
    for j, feature in enumerate(schema.features):
        column, seen = x[:, j], known[:, j]
        missing, present = np.isnan(column), seen[~np.isnan(seen)]
        if feature.kind == "numeric" and len(present):
            low, high = np.quantile(present, [tail, 1 - tail])
            odd = (column < low) | (column > high)
        else:
            odd = ~np.isin(column, np.unique(present)) & ~missing
        count += odd | (missing & (len(present) == len(seen)))
    return count
