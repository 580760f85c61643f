"""DDM (Gama et al. 2004; River) on the errors of the serving model against the feedback."""

from __future__ import annotations

import numpy as np
from river.drift.binary import DDM

from separation.episode import Episode
from separation.stream_baseline import errors


def statistic(episode: Episode, rng: np.random.Generator) -> float:  # noqa: ARG001 - all are called alike
    """The largest number of standard deviations at which it alarms."""
    values = errors(episode)
    for deviations in (8.0, 6.0, 5.0, 4.0, 3.0, 2.0):
        detector = DDM(drift_threshold=deviations)
        for value in values.tolist():
            detector.update(bool(value))
            if detector.drift_detected:
                return deviations
    return 0.0
