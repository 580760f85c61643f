"""Rates of what a broken pipeline does to a feature, for all events and for each source, against their own past."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Ints
from detectors.faults.columns import FaultColumns
from detectors.faults.conditional_range import FEATURES, SEEN, ConditionalRange
from detectors.faults.shrunken_rates import shrunken_bound
from detectors.nulls.block_null import dispersion
from detectors.schema import Schema
from detectors.sequential import upper_bound

STAKES: Final = (0.08, 0.3, 0.9)
"""Bets are on rates mu + c (1 - mu), mu the bound: a rare value that comes, a third of the events, nearly all."""

_FEWEST_FOR_FROZEN: Final = 4
_FROZEN_SHARE: Final = 0.9  # of the stake: a single other value does not lose everything that was won
_COUNTED: Final = 1024  # rows that are counted at once
_MOST_LOOKED_AT: Final = 500_000  # values of the reference whose neighbours are looked for


@dataclass(frozen=True, slots=True)
class Scan:
    """Log e-values of one window [stakes, scopes, C + d] (columns as `FaultColumns`, then frozen); votes [scopes]."""

    log_e: Floats
    votes: Floats


class FaultScan:
    """Likelihood ratios of rates by scope (0: all, s: the s-th source) against upper bounds mu.

    For h hits of m sessions and a stake c: e = (theta/mu)^h ((1-theta)/(1-mu))^(m-h), theta = mu + c (1-mu), which has
    mean <= 1 for every rate up to mu. Frozen: e = .1 + .9 1[all m present values are equal] / b^(m-1), with b a bound
    on the share of any one value in the reference (P = sum_v b_v^m at most).
    Null: sessions of a scope are independent draws from what its sessions in the reference were drawn from. Bounds hold
    jointly with probability 1 - ``level``, those of sources where rates differ between sources as a beta distribution
    does (`shrunken_bound`); a source with no past cannot alarm.
    For scope 0 the expected rate under this window's mix of sources counts where it is higher: a source that always
    sends nulls and becomes busier is no fault. Counts are divided by the `dispersion` over session blocks.
    With more than 64 features, neighbours are looked for in the 64 that earlier windows make most suspicious.
    """

    def __init__(
        self,
        schema: Schema,
        x: Floats,
        scope: Ints,
        scopes: int,
        ranges: ConditionalRange,
        level: float,
        rng: np.random.Generator,
    ) -> None:
        self.columns = FaultColumns(schema, x)
        self._scopes, self._ranges = scopes, ranges
        looked = np.arange(min(len(x), max(_MOST_LOOKED_AT // x.shape[1], 200)))
        seen = np.zeros((len(x), len(SEEN), x.shape[1]), np.bool_)
        seen[looked] = ranges.seen(x[looked], np.arange(x.shape[1]), rows=looked)
        found = self.columns.of(x, seen)
        hits, trials = self._hits(found, scope), _trials(scope, scopes)
        n = np.where(self.columns.conditional, _trials(scope[looked], scopes)[:, None], trials[:, None])
        self._rate = hits / np.maximum(n, 1)
        mean = found.mean(axis=0)
        self._spread = dispersion(lambda rows: (found[rows].mean(axis=0) - mean) ** 2, len(x), rng)
        at = 1 - level / ((hits.shape[1] + x.shape[1]) * scopes)
        self._bound = _bounds(hits / self._spread, n / self._spread, at)
        self._won = np.log1p(np.array(STAKES)[:, None, None] * (1 - self._bound) / self._bound)
        modal = np.array([[_modal(x[self._rows(scope, s), j]) for j in range(x.shape[1])] for s in range(scopes)])
        self._modal = np.log(_bounds(modal[..., 0], modal[..., 1], at))

    @property
    def feature(self) -> Ints:
        """Feature of each column [C + d]."""
        return np.concatenate([self.columns.feature, np.arange(self._modal.shape[1])])

    def scan(self, x: Floats, scope: Ints, suspicion: Floats) -> Scan:
        """Log e-values for x[m, d], one event a session, of the sources ``scope`` [m] (1.., -1: unknown).

        ``suspicion`` [d], from earlier windows, says which features come first.
        """
        looked = np.sort(np.argsort(-suspicion, kind="stable")[:FEATURES])
        found = self.columns.of(x, self._ranges.seen(x, looked))
        hits, trials = self._hits(found, scope), _trials(scope, self._scopes)
        mix = trials[1:] / max(trials[0], 1.0)
        of_all = np.minimum(np.maximum(self._bound[0], mix @ self._rate[1:]), 1.0)
        h, m = hits / self._spread, trials[:, None] / self._spread
        out = ~np.isin(self.columns.feature, looked) & self.columns.conditional
        h, m = np.where(out, 0.0, h), np.where(out, 0.0, m)
        log_e = np.empty((len(STAKES), self._scopes, hits.shape[1] + x.shape[1]))
        for k, stake in enumerate(STAKES):
            won = self._won[k].copy()
            won[0] = np.log1p(stake * (1 - of_all) / of_all)
            log_e[k, :, : hits.shape[1]] = h * won + (m - h) * np.log1p(-stake)
        log_e[:, :, hits.shape[1] :] = self._frozen(x, scope)
        return Scan(log_e, trials)

    def _rows(self, scope: Ints, s: int) -> Ints:
        return np.arange(len(scope)) if s == 0 else np.flatnonzero(scope == s)

    def _hits(self, found: Bools, scope: Ints) -> Floats:
        """Hits [scopes, C] of what was found [m, C]."""
        hits = np.zeros((self._scopes, len(self.columns)))
        member = (scope == np.arange(self._scopes)[:, None]).astype(np.float32)
        member[0] = 1.0
        for start in range(0, len(found), _COUNTED):  # float32 counts so few exactly
            part = slice(start, start + _COUNTED)
            hits += member[:, part] @ found[part].astype(np.float32)
        return hits

    def _frozen(self, x: Floats, scope: Ints) -> Floats:
        log_e = np.zeros((self._scopes, x.shape[1]))
        if not len(x):
            return log_e
        order = np.argsort(scope, kind="stable")
        order = order[np.searchsorted(scope[order], 0, "right") :]
        present, first = np.unique(scope[order], return_index=True)
        for scopes, rows, starts in ((np.zeros(1, np.int64), x, np.zeros(1, np.int64)), (present, x[order], first)):
            if len(scopes):
                known = np.add.reduceat(~np.isnan(rows), starts, axis=0, dtype=np.float64)
                same = np.fmin.reduceat(rows, starts, axis=0) == np.fmax.reduceat(rows, starts, axis=0)
                won = np.where(same, np.log(_FROZEN_SHARE) - self._modal[scopes] * (known - 1), -np.inf)
                won = np.logaddexp(np.log(1 - _FROZEN_SHARE), won)
                log_e[scopes] = np.where(known >= _FEWEST_FOR_FROZEN, won, 0.0)
        return log_e


def _trials(scope: Ints, scopes: int) -> Floats:
    trials = np.bincount(np.maximum(scope, 0), minlength=scopes).astype(np.float64)
    trials[0] = len(scope)
    return trials


def _bounds(hits: Floats, trials: Floats, level: float) -> Floats:
    """Of all sources together by themselves, of the sources by each other as well."""
    trials = np.broadcast_to(trials, hits.shape)
    of_all = upper_bound(hits[:1], trials[:1], level)
    return np.concatenate([of_all, shrunken_bound(hits[1:], trials[1:], level)])


def _modal(column: Floats) -> tuple[float, float]:
    """How often the most common value occurs, and how many are present."""
    known = column[~np.isnan(column)]
    if len(known) == 0:
        return 0.0, 0.0
    return float(np.unique(known, return_counts=True)[1].max()), float(len(known))
