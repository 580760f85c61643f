"""How far a figure of a clean candidate may lie from that of models of the trusted base: limits with an error rate.

Reseeds are models of the whole base, parts models of other parts of it each. They vary for two reasons, the seed and
the rows, as the candidate does, which was trained on other rows too. All limits are conditional on the rows that the
models are compared on, so that rows may depend on each other (rows of one session do).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from detectors.batch import Floats


@dataclass(frozen=True, slots=True)
class Losses:
    """A figure, the higher the worse, of the candidate, LKG, reseeds [K] and parts [P].

    ``floor`` is the least standard deviation that is believed: few models may agree by chance.
    """

    candidate: float
    lkg: float
    reseeds: Floats
    parts: Floats
    floor: float

    def spread(self) -> tuple[float, int]:
        """The standard deviation of one model about the mean of its kind, and its degrees of freedom."""
        groups = [g for g in (self.reseeds, self.parts) if len(g) > 1]
        degrees = sum(len(g) - 1 for g in groups)
        squares = sum(float(np.sum((g - g.mean()) ** 2)) for g in groups)
        return max(float(np.sqrt(squares / degrees)), self.floor), degrees


def row_noise(values: Floats) -> float:
    """The standard deviation of a mean over n rows, were rows independent, from values [K, n] of K models.

    At least one row of n: models that agree on every row of a small holdout show no noise at all.
    """
    n = max(values.shape[1], 1)
    return max(float(np.sqrt(np.sum(np.var(values, axis=0, ddof=1)))), 1.0) / float(n)


def excess(losses: Losses, error_rate: float, *, lkg_kin: bool = True) -> tuple[float, float]:
    """How much worse the candidate is than LKG, and the most that this may be.

    Null: the candidate is one more draw of the procedure that LKG and K reseeds are draws of, of figures N(mu, s^2).
    With s from the reseeds and parts (each about the mean of its kind, d degrees of freedom), (candidate - mean of LKG
    and reseeds) / (s sqrt(1 + 1 / (K + 1))) is t-distributed with d degrees. Where LKG is of another procedure, it is
    compared with alone, and the factor is sqrt 2. The limit is never below 0: as good as LKG is good enough.
    """
    s, degrees = losses.spread()
    t = float(stdtrit(degrees, 1 - error_rate))
    known = np.array([losses.lkg, *losses.reseeds]) if lkg_kin else np.array([losses.lkg])
    allowed = float(known.mean()) - losses.lkg + t * s * float(np.sqrt(1 + 1 / len(known)))
    return losses.candidate - losses.lkg, max(allowed, 0.0)


def prediction_limit(values: Floats, error_rate: float, floor: float = 0.0) -> float:
    """What one more draw from where ``values`` [K] came from exceeds with probability ``error_rate``.

    mean + t(1 - error_rate; K - 1) s sqrt(1 + 1/K), exact for normal values (G. J. Hahn, "Factors for calculating
    two-sided prediction intervals for samples from a normal distribution", JASA 64, 1969), and at least their maximum.
    ``floor`` is the least s.

    >>> round(prediction_limit(np.array([1.0, 2.0, 3.0]), 0.05), 3)
    5.372
    """
    k = len(values)
    spread = max(float(np.std(values, ddof=1)), floor) * float(np.sqrt(1 + 1 / k))
    return max(float(np.mean(values)) + float(stdtrit(k - 1, 1 - error_rate)) * spread, float(np.max(values)))


def maximum_limit(maxima: Floats, error_rate: float) -> float:
    """What one more maximum over many slices exceeds with probability of about ``error_rate``, from ``maxima`` [K].

    A Gumbel distribution by moments: mean + s (-gamma - ln(-ln(1 - a))) sqrt(6) / pi. That mean and s are known from K
    values alone is allowed for by the factor t(1 - a; K - 1) / z(1 - a) and sqrt(1 + 1/K), as for a normal value.
    """
    k = len(maxima)
    gumbel = float((-np.euler_gamma - np.log(-np.log1p(-error_rate))) * np.sqrt(6) / np.pi)
    doubt = float(stdtrit(k - 1, 1 - error_rate) / ndtri(1 - error_rate)) * float(np.sqrt(1 + 1 / k))
    return float(np.mean(maxima)) + gumbel * doubt * float(np.std(maxima, ddof=1))
