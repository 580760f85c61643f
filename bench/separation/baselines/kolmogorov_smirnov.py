"""Two-sample Kolmogorov-Smirnov test of every feature, stream against reference, largest of all features."""

from __future__ import annotations

import numpy as np

from detectors.nulls.block_null import ks_distance
from separation.episode import Episode
from separation.stream_baseline import firsts


def statistic(episode: Episode, rng: np.random.Generator) -> float:  # noqa: ARG001 - all are called alike
    """sqrt(n m / (n + m)) times the distance."""
    known, seen = firsts(episode.world.reference), firsts(episode.events)
    n, m = len(known), len(seen)
    distances = [ks_distance(np.sort(known.x[:, j]), seen.x[:, j]) for j in range(known.x.shape[1])]
    return float(np.sqrt(n * m / (n + m)) * max(distances))
