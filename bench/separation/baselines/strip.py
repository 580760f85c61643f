"""STRIP (Gao et al. 2019) for tables: decisions that survive when half of the features come from other rows.

On the margin instead of the entropy, which saturates for such models.
"""

from __future__ import annotations

import numpy as np

from detectors.batch import Floats
from detectors.nulls.margins import log_scores
from separation.episode import Episode
from separation.stream_baseline import firsts

_COPIES = 16
_ROWS = 1200


def statistic(episode: Episode, rng: np.random.Generator) -> float:
    """Share of sessions that persist more than 99% of the reference does."""
    known, seen = firsts(episode.world.reference).x, firsts(episode.events).x
    persisting = [_persistence(episode, rng.permutation(x)[:_ROWS], known, rng) for x in (known, seen)]
    return float(np.mean(persisting[1] > np.quantile(persisting[0], 0.99)))


def _persistence(episode: Episode, x: Floats, donors: Floats, rng: np.random.Generator) -> Floats:
    """Mean margin by which each row's own class wins over its mixtures."""
    own = episode.score_f(x).argmax(axis=1)
    each, total = np.arange(len(x)), np.zeros(len(x))
    for _ in range(_COPIES):
        mixed = np.where(rng.random(x.shape) < 0.5, x, donors[rng.integers(0, len(donors), len(x))])
        logs = log_scores(episode.score_f(mixed))
        mine = logs[each, own].copy()
        logs[each, own] = -np.inf
        total += mine - logs.max(axis=1)
    return total / _COPIES
