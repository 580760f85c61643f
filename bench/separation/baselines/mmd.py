"""Maximum mean discrepancy (Gretton et al. 2012), RBF kernel at the median distance, stream against reference."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from separation.episode import Episode
from separation.stream_baseline import firsts, standardised

_ROWS = 400
_PERMUTATIONS = 50


def statistic(episode: Episode, rng: np.random.Generator) -> float:
    """Standard deviations of its permutation distribution."""
    known, seen = firsts(episode.world.reference).x, firsts(episode.events).x
    a, b = standardised(known, rng.permutation(known)[:_ROWS]), standardised(known, rng.permutation(seen)[:_ROWS])
    both = np.concatenate([a, b])
    squared = cdist(both, both, "sqeuclidean")
    kernel = np.exp(-squared / np.median(squared[squared > 0]))
    sign = np.concatenate([np.full(len(a), 1 / len(a)), np.full(len(b), -1 / len(b))])
    drawn = [float(s @ kernel @ s) for s in (rng.permutation(sign) for _ in range(_PERMUTATIONS))]
    return float((sign @ kernel @ sign - np.mean(drawn)) / np.std(drawn))
