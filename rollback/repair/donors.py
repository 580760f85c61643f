"""Values for a feature that is not there: those of the most similar trusted rows (nearest-neighbour hot deck)."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Bools, Floats
from rollback.repair.batches import Pair, some

POOL: Final = 400
"""Sessions that values are taken from."""
NEAREST: Final = 5
CHUNK: Final = 1024


def donated(pair: Pair, feature: int, wanted: Bools, rng: np.random.Generator) -> Floats:
    """For each wanted row the value of one of its five nearest trusted rows, by all other features.

    Numbers are compared by their ranks in the pool, other values by whether they are the same. No label is looked at.
    Source: R. Andridge and R. Little, "A review of hot deck imputation" (2010), International Statistical Review 78.
    """
    pool = pair.past.take(some(pair.past.session, POOL, rng))
    pool = pool.take(~np.isnan(pool.x[:, feature])) if not np.isnan(pool.x[:, feature]).all() else pool
    others = [j for j in range(pool.x.shape[1]) if j != feature]
    known = _coded(pair, pool.x, pool.x, others)
    rows = np.flatnonzero(wanted)
    count = min(NEAREST, len(pool))
    out = np.empty(len(rows))
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        asked = _coded(pair, pair.now.x[rows[part]], pool.x, others)
        distance = (asked**2).sum(axis=1)[:, None] - 2 * asked @ known.T + (known**2).sum(axis=1)
        near = np.argpartition(distance, count - 1, axis=1)[:, :count]
        out[part] = pool.x[near[np.arange(len(near)), rng.integers(count, size=len(near))], feature]
    return out


def _coded(pair: Pair, x: Floats, pool: Floats, others: list[int]) -> Floats:
    """Coordinates in which squared distances are those of `donated`."""
    columns = [np.zeros(len(x))]
    for j in others:
        if pair.now.schema.features[j].kind == "categorical":
            columns += [np.where(x[:, j] == v, np.sqrt(0.5), 0.0) for v in np.unique(pool[:, j])[:16]]
            continue
        ranked = np.sort(pool[:, j][~np.isnan(pool[:, j])])
        low, high = (np.searchsorted(ranked, x[:, j], side=side) for side in ("left", "right"))
        columns.append(np.where(np.isnan(x[:, j]), -0.5, (low + high) / 2 / max(len(ranked), 1)))
    return np.column_stack(columns)
