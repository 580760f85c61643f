"""Rates of what a broken pipeline does to a feature, for all events and for each source, against their own past."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import betainc

from detectors.batch import Bools, Floats, Ints
from detectors.block_null import dispersion
from detectors.marginals import centre_and_scale, standardised
from detectors.schema import UNSEEN, Schema
from detectors.sequential import upper_bound

RATES: Final = ("nulls", "unseen", "high", "low", "odd")
_TAIL: Final = 0.1
_FEWEST_FOR_QUANTILES: Final = 20
_FEWEST_FOR_FROZEN: Final = 4
_PENALTY: Final = 0.05


@dataclass(frozen=True, slots=True)
class Scan:
    """The p-values of one window: ``rates`` [scopes, 5, d] as in `RATES`, ``frozen`` [scopes, d]; votes [scopes].

    ``raised`` [scopes, 5, d]: which rates are more than twice those of the past.
    """

    rates: Floats
    raised: Bools
    frozen: Floats
    votes: Floats


class FaultScan:
    """Binomial tails of rates by scope (0: all, s: the s-th source) against Clopper-Pearson bounds.

    ``nulls`` and ``unseen`` count values. ``high`` and ``low`` count magnitudes above the 90% and below the 10%
    quantile of that scope's own non-zero magnitudes. ``odd`` counts values that are further from a ridge regression on
    the event's other numeric features than 90% of that scope's are: it needs fewer events than the quantiles.
    ``frozen``: all m present values of a scope are equal, p = b^(m-1), with b a bound on the share of any one value in
    the reference (P = sum_v b_v^m at most).
    Null: sessions of a scope are independent draws from what its sessions in the reference were drawn from. The bounds
    hold jointly with probability 1 - ``level``; a source with little past has wide bounds, one with none cannot alarm.
    For scope 0 the expected rate under this window's mix of sources counts where it is higher: a source that always
    sends nulls and becomes busier is no fault. Counts are divided by the `dispersion` over session blocks.
    """

    def __init__(
        self, schema: Schema, x: Floats, scope: Ints, *, scopes: int, level: float, rng: np.random.Generator
    ) -> None:
        self._numeric = np.array([f.kind == "numeric" for f in schema.features])
        self._categorical = np.array([f.kind == "categorical" for f in schema.features])
        self._scopes = scopes
        self._step = _low_magnitude(x)
        self._centre, self._scale = centre_and_scale(self._logs(x))
        self._precision = self._regressions(x)
        self._low, self._high, self._far = self._quantiles(x, scope)
        hits, trials = self._count(x, scope)
        cells = (hits[0].size + x.shape[1]) * np.count_nonzero(trials)
        self._rate = hits / np.maximum(trials, 1)[:, None, None]
        mean = self._rate[0]
        spread = dispersion(lambda rows: self._gap(x[rows], mean), len(x), rng).reshape(mean.shape)
        self._spread = spread
        strength = np.broadcast_to(trials[:, None, None], hits.shape) / spread
        self._bound = upper_bound(hits / spread, strength, 1 - level / cells)
        modal = np.array([[_modal(x[self._rows(scope, s), j]) for j in range(x.shape[1])] for s in range(scopes)])
        self._modal_bound = upper_bound(modal[..., 0], modal[..., 1], 1 - level / cells)

    def scan(self, x: Floats, scope: Ints) -> Scan:
        """p-values for x[m, d], one event a session, of the sources ``scope`` [m] (1..)."""
        hits, trials = self._count(x, scope)
        bound = self._bound.copy()
        mix = trials[1:] / max(trials[0], 1.0)
        bound[0] = np.maximum(bound[0], np.tensordot(mix, self._rate[1:], axes=1))
        k = hits / self._spread
        n = np.broadcast_to(trials[:, None, None], hits.shape) / self._spread
        above = k > n * bound
        p = np.ones(hits.shape)
        p[above] = betainc(k[above], n[above] - k[above] + 1, bound[above])
        raised = hits > 2 * self._rate * trials[:, None, None]
        return Scan(p, raised, self._frozen(x, scope), trials)

    def _rows(self, scope: Ints, s: int) -> Ints:
        return np.arange(len(scope)) if s == 0 else np.flatnonzero(scope == s)

    def _regressions(self, x: Floats) -> Floats:
        """What turns standardised events into residuals: column j of the inverse covariance over its diagonal."""
        z = self._standard(x)
        covariance = np.cov(z, rowvar=False).reshape(x.shape[1], x.shape[1])
        inverse = np.linalg.inv(covariance + _PENALTY * np.eye(x.shape[1]))
        return np.asarray(inverse / np.diag(inverse), np.float64)

    def _standard(self, x: Floats) -> Floats:
        return np.where(self._numeric, standardised(self._logs(x), self._centre, self._scale), 0.0)

    def _logs(self, x: Floats) -> Floats:
        """Log-like at every magnitude, so that a factor is a step; zeros tell nothing of a unit: missing."""
        return np.where(x == 0, np.nan, np.arcsinh(x / self._step))

    def _residual(self, x: Floats) -> Floats:
        """Distance of each value from its regression on the others, 0 where it is missing, zero or no number."""
        return np.where(np.isnan(x) | (x == 0) | ~self._numeric, 0.0, np.abs(self._standard(x) @ self._precision))

    def _quantiles(self, x: Floats, scope: Ints) -> tuple[Floats, Floats, Floats]:
        """The 10% and 90% quantiles of non-zero magnitudes and the 90% quantile of residuals, each [scopes, d]."""
        size = np.where(x == 0, np.nan, np.abs(x))
        residual = self._residual(x)
        shape = (self._scopes, x.shape[1])
        low, high, far = np.zeros(shape), np.full(shape, np.inf), np.full(shape, np.inf)
        for s in range(self._scopes):
            rows = self._rows(scope, s)
            enough = self._numeric & (np.sum(~np.isnan(size[rows]), axis=0) >= _FEWEST_FOR_QUANTILES)
            low[s], high[s], far[s] = low[0], high[0], far[0]
            if enough.any():
                low[s, enough], high[s, enough] = np.nanquantile(size[rows][:, enough], (_TAIL, 1 - _TAIL), axis=0)
                far[s, enough] = np.quantile(residual[rows][:, enough], 1 - _TAIL, axis=0)
        return low, high, far

    def _indicators(self, x: Floats, scope: Ints, residual: Floats) -> Floats:
        size = np.abs(x)
        low = (size > 0) & (size < self._low[scope])
        unseen = (x == UNSEEN) & self._categorical
        seen = [np.isnan(x), unseen, size > self._high[scope], low, residual > self._far[scope]]
        return np.stack(seen, axis=1).astype(np.float64)

    def _count(self, x: Floats, scope: Ints) -> tuple[Floats, Floats]:
        """Hits [scopes, 5, d] and trials [scopes]."""
        residual = self._residual(x)
        hits = np.zeros((self._scopes, len(RATES), x.shape[1]))
        if len(x):
            order = np.argsort(scope, kind="stable")
            present, first = np.unique(scope[order], return_index=True)
            # -1 is a source without a scope: the sum that lands there is replaced by that over all sources
            hits[np.maximum(present, 0)] = np.add.reduceat(self._indicators(x, scope, residual)[order], first, axis=0)
            hits[0] = self._indicators(x, np.zeros_like(scope), residual).sum(axis=0)
        trials = np.bincount(np.maximum(scope, 0), minlength=self._scopes).astype(np.float64)
        trials[0] = len(x)
        return hits, trials

    def _gap(self, x: Floats, mean: Floats) -> Floats:
        shares = self._indicators(x, np.zeros(len(x), np.int64), self._residual(x)).mean(axis=0)
        return np.asarray((shares - mean) ** 2, np.float64).ravel()

    def _frozen(self, x: Floats, scope: Ints) -> Floats:
        p = np.ones((self._scopes, x.shape[1]))
        for s in [0, *np.unique(scope[scope > 0]).tolist()]:
            rows = x[self._rows(scope, s)]
            present = np.sum(~np.isnan(rows), axis=0)
            same = np.fmin.reduce(rows, axis=0, initial=np.inf) == np.fmax.reduce(rows, axis=0, initial=-np.inf)
            stuck = same & (present >= _FEWEST_FOR_FROZEN)
            p[s, stuck] = self._modal_bound[s, stuck] ** (present[stuck] - 1)
        return p


def _low_magnitude(x: Floats) -> Floats:
    """The 10% quantile of the non-zero magnitudes of each column; 1 where there is none."""
    low = np.ones(x.shape[1])
    for j in range(x.shape[1]):
        size = np.abs(x[(x[:, j] != 0) & np.isfinite(x[:, j]), j])
        if len(size):
            low[j] = np.quantile(size, _TAIL)
    return low


def _modal(column: Floats) -> tuple[float, float]:
    """How often the most common value occurs, and how many are present."""
    known = column[~np.isnan(column)]
    if len(known) == 0:
        return 0.0, 0.0
    return float(np.unique(known, return_counts=True)[1].max()), float(len(known))
