"""The maximum mean discrepancy in linear time: random Fourier features of standardised and one-hot columns."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.spatial.distance import pdist

from detectors.batch import Floats, Ints
from detectors.nulls.block_null import dispersion
from detectors.nulls.marginals import Marginals, centre_and_scale, standardised

_FREQUENCIES: Final = 128
_CHUNK: Final = 512  # rows whose cells are held at once
_PAIRS_FROM: Final = 400  # sessions among which the median distance is taken


def quadratic_form_p(excess: float, eigenvalues: Floats) -> float:
    """Bound of P(sum l_i Z_i^2 >= x) for standard normal Z: exp(-u) with x = sum l + 2 |l| sqrt(u) + 2 max(l) u.

    Laurent & Massart 2000 (Annals of Statistics 28:1302), lemma 1, solved for u.

    >>> round(quadratic_form_p(10.0, np.array([1.0])), 4)  # the tail itself is 0.0016
    0.0596
    """
    trace, length, top = float(eigenvalues.sum()), float(np.sqrt((eigenvalues**2).sum())), float(eigenvalues.max())
    if excess <= trace or top <= 0:
        return 1.0
    root = (np.sqrt(length**2 + 2 * top * (excess - trace)) - length) / (2 * top)
    return float(np.exp(-(root**2)))


def quadratic_form_quantile(level: float, eigenvalues: Floats) -> float:
    """What sum l_i Z_i^2 exceeds with probability at most ``level``: the same bound the other way round."""
    u = -np.log(level)
    length = np.sqrt((eigenvalues**2).sum())
    return float(eigenvalues.sum() + 2 * length * np.sqrt(u) + 2 * eigenvalues.max() * u)


class MeanDiscrepancy:
    """The distance |mean phi(W) - mean phi(R)| with random Fourier features phi.

    phi(x) = (cos wx, sin wx)/sqrt(128), w ~ N(0, 1/s^2), s the median distance of the reference's sessions: Rahimi &
    Recht 2007 for phi, Gretton et al. 2012 (JMLR 13:723) for the statistic and the median heuristic. Columns:
    asinh((x - median)/(IQR/1.349)) of continuous features (missing: the median), and an indicator of each cell of the
    others, scaled so that two different values lie at distance 1.
    Null: m sessions drawn from what the reference's n were drawn from. m MMD(W, P)^2 is then, nearly, a weighted sum of
    chi-squares with the eigenvalues of phi's covariance, whose tail `quadratic_form_p` bounds. MMD is a distance, so
    the reference's own error (same law with n, at ``level``) is a margin. m and n are divided by the `dispersion`.
    """

    def __init__(self, marginals: Marginals, x: Floats, level: float, rng: np.random.Generator) -> None:
        self._marginals = marginals
        values = x[:, marginals.continuous]
        self._centre, self._scale = centre_and_scale(values)
        bandwidth = _median_distance(self._standard(values), marginals.codes(x), rng)
        weights = rng.standard_normal((len(marginals.continuous), _FREQUENCIES)) / bandwidth
        cell_weights = rng.standard_normal((marginals.cells, _FREQUENCIES)) / (bandwidth * np.sqrt(2))
        # float32, of which cos and sin are fast; the angles are random in any case
        self._weights, self._cell_weights = weights.astype(np.float32), cell_weights.astype(np.float32)
        phi = self._features(x)
        self._mean = phi.mean(axis=0)
        self._dispersion = float(dispersion(lambda rows: self._square(phi[rows]), len(x), rng)[0])
        self._eigenvalues = np.maximum(np.linalg.eigvalsh(np.cov(phi, rowvar=False)), 0.0)
        self._margin = np.sqrt(quadratic_form_quantile(level, self._eigenvalues) * self._dispersion / len(x))

    def test(self, x: Floats) -> tuple[float, float]:
        """MMD and its p-value for x[m, d], one event a session."""
        if len(x) == 0:
            return 0.0, 1.0
        distance = float(np.sqrt(self._square(self._features(x))[0]))
        excess = max(distance - self._margin, 0.0) ** 2
        return distance, quadratic_form_p(excess * len(x) / self._dispersion, self._eigenvalues)

    def _square(self, phi: Floats) -> Floats:
        square: Floats = np.sum((phi.mean(axis=0) - self._mean) ** 2, keepdims=True)
        return square

    def _features(self, x: Floats) -> Floats:
        phi = np.empty((len(x), 2 * _FREQUENCIES))
        for start in range(0, len(x), _CHUNK):
            part = x[start : start + _CHUNK]
            cells = np.zeros((len(part), self._marginals.cells), np.float32)
            np.put_along_axis(cells, self._marginals.codes(part), 1.0, axis=1)
            numbers = self._standard(part[:, self._marginals.continuous]).astype(np.float32)
            angle = numbers @ self._weights + cells @ self._cell_weights
            phi[start : start + _CHUNK] = np.hstack([np.cos(angle), np.sin(angle)]) / np.sqrt(_FREQUENCIES)
        return phi

    def _standard(self, values: Floats) -> Floats:
        return standardised(values, self._centre, self._scale)


def _median_distance(standard: Floats, codes: Ints, rng: np.random.Generator) -> float:
    rows = rng.permutation(len(standard))[:_PAIRS_FROM]
    squares = np.zeros(len(rows) * (len(rows) - 1) // 2)
    if standard.shape[1]:
        squares += pdist(standard[rows], "sqeuclidean")
    if codes.shape[1]:
        squares += pdist(codes[rows].astype(np.float64), "hamming") * codes.shape[1]
    return float(np.sqrt(np.median(squares))) or 1.0
