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


def noise_ahead(contradicting: Floats, error: Floats, group: Ints, past: int) -> Floats:
    """Posterior mean of the noise of each row's group, from the rows before it: of all rows from ``past`` on.

    ``contradicting``[n] in [0, 1] is the share of a labeller's labels that contradict g, ``group`` is -1 for none. The
    prior of a group is mostly the posterior of all labels together.

    >>> noise_ahead(np.ones(9), np.zeros(9), np.zeros(9, int), 0).round(3).tolist()
    [0.018, 0.046, 0.056, 0.059, 0.06, 0.06, 0.06, 0.06, 0.06]
    """
    p = null_rate(error[:, None], NOISE)
    log = np.log1p(-p)
    some = np.flatnonzero(contradicting)
    log[some] += contradicting[some, None] * (np.log(p[some]) - log[some])
    new, of = log[past:], group[past:]
    pooled = _posterior(np.log(PRIOR) + log[:past].sum(axis=0) + np.cumsum(new, axis=0) - new)
    slots = int(group.max(initial=-1)) + 2
    before = np.stack([np.bincount(group[:past] + 1, log[:past, k], slots) for k in range(len(NOISE))], axis=1)
    own = before[of + 1] + _earlier(new, of)
    own[of < 0] = 0.0
    return np.asarray(_posterior(np.log(_POOLED * pooled + (1 - _POOLED) * PRIOR) + own) @ NOISE, np.float64)


def _earlier(values: Floats, group: Ints) -> Floats:
    """Sums [n, m] of the values[n, m] of earlier rows of the same group."""
    order = np.argsort(group, kind="stable")
    sums = np.cumsum(values[order], axis=0) - values[order]
    first = np.flatnonzero(np.diff(group[order], prepend=group[order][:1] - 1))
    length = np.diff(np.append(first, len(order)))
    out = np.empty_like(sums)
    out[order] = sums - np.repeat(sums[first], length, axis=0)
    return out


def _posterior(logs: Floats) -> Floats:
    p = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(p / p.sum(axis=-1, keepdims=True), np.float64)
