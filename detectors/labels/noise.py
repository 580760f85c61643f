"""How often an honest label contradicts the model: the model's own errors, and people who label wrongly."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.optimize import isotonic_regression

from detectors.batch import Floats, Ints

NOISE: Final = np.array([0.002, 0.005, 0.01, 0.02, 0.035, 0.06])
"""Rates of wrong labels that an honest labeller may have. The last is the ceiling: no stream teaches a higher one."""

PRIOR: Final = np.array([0.12, 0.2, 0.26, 0.2, 0.12, 0.1])
_POOLED: Final = 0.9  # of a group's prior: what everybody's labels say; the rest is `PRIOR`
_BINS: Final = 60
_REGION_PRIOR: Final = 3.0  # errors that a region must have beyond the expected ones before it counts as a worse one
_MOST: Final = 0.5


class ErrorRate:
    """P(g is wrong | its certainty, the region), from the reference.

    Isotonic in the certainty (Zadrozny & Elkan 2002), each level with half an error more than it has; times
    max(1, (k + 3) / (E + 3)) where a region has k errors and E are expected.

    >>> certainty = np.repeat([1.0, 5.0], 100)
    >>> wrong = np.concatenate([np.arange(100) < 20, np.zeros(100)])
    >>> rate = ErrorRate(certainty, wrong, np.zeros(200, int), 1)
    >>> rate.of(np.array([0.5, 9.0]), np.zeros(2, int)).round(4).tolist()
    [0.203, 0.005]
    """

    def __init__(self, certainty: Floats, wrong: Floats, region: Ints, regions: int) -> None:
        self._edges = np.unique(np.quantile(certainty, np.linspace(0, 1, _BINS + 1)[1:-1]))
        code = np.searchsorted(self._edges, certainty, side="left")
        count = np.bincount(code, minlength=len(self._edges) + 1).astype(np.float64)
        errors = np.bincount(code, weights=wrong, minlength=len(count))
        some = np.flatnonzero(count)
        fitted = isotonic_regression(errors[some] / count[some], weights=count[some], increasing=False)
        level = np.searchsorted(fitted.blocks, np.arange(len(some)), side="right") - 1
        rate = (np.bincount(level, weights=errors[some]) + 0.5) / (np.bincount(level, weights=count[some]) + 1)
        bins = np.clip(np.searchsorted(some, np.arange(len(count)), side="right") - 1, 0, None)
        self._rate = np.minimum.accumulate(rate[level][bins])
        self._factor = np.ones(regions)
        expected = np.bincount(region, weights=self.of(certainty, region), minlength=regions)
        found = np.bincount(region, weights=wrong, minlength=regions)
        self._factor = np.maximum(1.0, (found + _REGION_PRIOR) / (expected + _REGION_PRIOR))

    def of(self, certainty: Floats, region: Ints) -> Floats:
        """The rate for each event."""
        rate = self._rate[np.searchsorted(self._edges, certainty, side="left")]
        return np.asarray(np.minimum(rate * self._factor[region], _MOST), np.float64)


class AssumedErrorRate:
    """Where no model scores the reference: the model at its word, 1 / (1 + exp(certainty)), but ``least`` at least.

    >>> AssumedErrorRate(0.03).of(np.array([0.0, 9.0]), np.zeros(2, int)).tolist()
    [0.5, 0.03]
    """

    def __init__(self, least: float) -> None:
        self._least = least

    def of(self, certainty: Floats, region: Ints) -> Floats:  # noqa: ARG002 - as `ErrorRate.of`
        """The rate for each event."""
        return np.asarray(np.maximum(1 / (1 + np.exp(certainty)), self._least), np.float64)


def null_rate(error: Floats, noise: Floats) -> Floats:
    """P(label is not g's class) where g errs and, apart from that, the labeller: e + (1 - 2e) q."""
    return error + (1 - 2 * error) * noise


def noise_by_group(contradicting: Floats, error: Floats, group: Ints, groups: int) -> Floats:
    """Posterior mean of the noise of each group[groups]; last, that of a group that nothing is known of.

    ``contradicting``[n] in [0, 1] is the share of a session's labels that contradict g, ``group`` -1 for none.
    The prior of a group is mostly the posterior of all labels together.
    """
    p = null_rate(error[:, None], NOISE)
    log = contradicting[:, None] * np.log(p) + (1 - contradicting[:, None]) * np.log1p(-p)
    pooled = _posterior(np.log(PRIOR) + log.sum(axis=0))
    own = np.zeros((groups + 1, len(NOISE)))
    known = group >= 0
    np.add.at(own, group[known], log[known])
    return np.asarray(_posterior(np.log(_POOLED * pooled + (1 - _POOLED) * PRIOR) + own) @ NOISE, np.float64)


def _posterior(logs: Floats) -> Floats:
    p = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(p / p.sum(axis=-1, keepdims=True), np.float64)
