"""What baselines look at: errors, confidence, one event a session, standardised columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from detectors.batch import Floats
from detectors.nulls.block_null import first_of_sessions
from separation.episode import Episode
from separation.world import Events

_LEVELS: Final = (1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 5e-2)


class _Detector(Protocol):
    @property
    def drift_detected(self) -> bool: ...

    def update(self, x: float) -> object: ...


def errors(episode: Episode) -> Floats:
    """1 where feedback contradicts the serving model, in order."""
    given = episode.feedback
    said = episode.score_f(episode.events.x[given.row]).argmax(axis=1)
    return np.asarray(said != given.label, np.float64)


def confidence(episode: Episode) -> Floats:
    """The serving model's largest probability on the first event of each session."""
    return np.asarray(episode.score_f(firsts(episode.events).x).max(axis=1), np.float64)


def firsts(events: Events) -> Events:
    """The first event of each session."""
    return events.take(first_of_sessions(events.session))


def standardised(known: Floats, x: Floats) -> Floats:
    """asinh, then in standard deviations of ``known``; missing at the mean."""
    squeezed = np.arcsinh(known)
    mean, scale = np.nanmean(squeezed, axis=0), np.maximum(np.nanstd(squeezed, axis=0), 1e-6)
    return np.asarray(np.clip(np.nan_to_num((np.arcsinh(x) - mean) / scale), -8, 8), np.float64)


def smallest_level(values: Floats, make: Callable[[float], _Detector]) -> float:
    """-log10 of the strictest level at which a detector alarms on these values; 0 where none does."""
    for level in _LEVELS:
        detector = make(level)
        for value in values.tolist():
            detector.update(value)
            if detector.drift_detected:
                return float(-np.log10(level))
    return 0.0
