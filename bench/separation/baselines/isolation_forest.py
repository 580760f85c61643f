"""Isolation forest (Liu, Ting & Zhou 2008) learned from the reference: the share of odd sessions in the stream."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import IsolationForest

from separation.episode import Episode
from separation.stream_baseline import firsts, standardised


def statistic(episode: Episode, rng: np.random.Generator) -> float:
    """Share of sessions beyond the reference's 99% quantile."""
    known, seen = firsts(episode.world.reference).x, firsts(episode.events).x
    forest = IsolationForest(n_estimators=100, random_state=int(rng.integers(2**31))).fit(standardised(known, known))
    limit = np.quantile(forest.score_samples(standardised(known, known)), 0.01)
    return float(np.mean(forest.score_samples(standardised(known, seen)) < limit))
