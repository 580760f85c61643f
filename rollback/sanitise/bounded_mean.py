"""Bounds for the mean of independent numbers in [0, 1], whatever their distribution.

Sources: W. Hoeffding, "Probability Inequalities for Sums of Bounded Random Variables" (1963), JASA 58, theorem 1;
V. Bentkus, "On Hoeffding's inequalities" (2004), Annals of Probability 32; joined as in S. Bates et al.,
"Distribution-Free, Risk-Controlling Prediction Sets" (2021), https://arxiv.org/abs/2101.02703.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.stats import binom


def exceedance(mean: float, count: int, expected: float) -> float:
    """At most this is the probability that ``count`` numbers of expectation ``expected`` have so large a mean.

    >>> round(exceedance(0.5, 20, 0.1), 7)
    1.94e-05
    >>> exceedance(0.1, 20, 0.1)
    1.0
    """
    if not count or mean <= expected:
        return 1.0
    if expected <= 0:
        return 0.0
    hoeffding = math.exp(-count * _divergence(mean, expected))
    bentkus = math.e * float(binom.sf(math.ceil(round(count * mean, 9)) - 1, count, expected))
    return min(hoeffding, bentkus, 1.0)


def upper_mean(mean: float, count: int, confidence: float) -> float:
    """The expectation is at most this with probability ``confidence``; 1 where there are no numbers.

    >>> round(upper_mean(0.0, 100, 0.95), 4)
    0.0295
    """
    if not count or mean >= 1:
        return 1.0

    def excess(expected: float) -> float:
        return exceedance(1 - mean, count, 1 - expected) - (1 - confidence)

    return float(brentq(excess, mean, 1.0))


def _divergence(mean: float, expected: float) -> float:
    """Kullback-Leibler divergence of two coins."""
    above = 0.0 if mean >= 1 else (1 - mean) * math.log((1 - mean) / (1 - expected))
    return mean * math.log(mean / expected) + above
