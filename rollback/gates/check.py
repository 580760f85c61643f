"""What a check of the release gate says, and how far a figure may go before it is more than noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from detectors.batch import Floats


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement: ``value`` may not exceed ``limit``.

    ``error_rate`` is the stated chance that a candidate trained on clean data fails it; None where nothing is left to
    chance.
    """

    name: str
    passed: bool
    value: float
    limit: float
    error_rate: float | None


def at_most(name: str, value: float, limit: float, error_rate: float | None) -> Check:
    """The check that ``value`` <= ``limit``."""
    return Check(name, bool(value <= limit), float(value), float(limit), error_rate)


def prediction_limit(values: Floats, error_rate: float) -> float:
    """What one more draw from where ``values`` [K] came from exceeds with probability ``error_rate``.

    mean + t(1 - error_rate; K - 1) s sqrt(1 + 1/K), exact for normal values (G. J. Hahn, "Factors for calculating
    two-sided prediction intervals for samples from a normal distribution", JASA 64, 1969), and at least their maximum.

    >>> round(prediction_limit(np.array([1.0, 2.0, 3.0]), 0.05), 3)
    5.372
    """
    k = len(values)
    spread = float(np.std(values, ddof=1) * np.sqrt(1 + 1 / k))
    return max(float(np.mean(values)) + float(stdtrit(k - 1, 1 - error_rate)) * spread, float(np.max(values)))
