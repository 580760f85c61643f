"""KSWIN (Raab, Heusinger & Schleif 2020; River) on the errors of the serving model against the feedback."""

from __future__ import annotations

import numpy as np
from river.drift import KSWIN

from separation.episode import Episode
from separation.stream_baseline import errors, smallest_level


def statistic(episode: Episode, rng: np.random.Generator) -> float:  # noqa: ARG001 - all are called alike
    """-log10 of the smallest significance at which it alarms."""
    return smallest_level(errors(episode), lambda level: KSWIN(alpha=level, window_size=300, stat_size=100, seed=1))
