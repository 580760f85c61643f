"""Spectral signatures (Tran, Li & Madry 2018) of the retraining buffer with a MAD rule.

Outliers along the first singular vector of each class, on standardised features.
"""

from __future__ import annotations

import numpy as np

from separation.episode import Episode
from separation.stream_baseline import standardised


def statistic(episode: Episode, rng: np.random.Generator) -> float:  # noqa: ARG001 - all are called alike
    """Share of the rows with a robust z above 3; 0 where there is no buffer."""
    rows = episode.buffer
    if rows is None:
        return 0.0
    odd = 0
    for c in np.unique(rows.label).tolist():
        x = standardised(rows.x, rows.x[rows.label == c])
        centred = x - x.mean(axis=0)
        score = np.abs(centred @ np.linalg.svd(centred, full_matrices=False)[2][0])
        spread = 1.4826 * np.median(np.abs(score - np.median(score)))
        odd += int(np.sum(score - np.median(score) > 3 * max(spread, 1e-9)))
    return odd / len(rows)
