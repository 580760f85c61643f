"""Rates with bounds that count sites and not episodes: what shares models and traffic is no independent evidence.

Bounds are one-sided 95%. Where no site has an event (or every episode is one), Clopper-Pearson's over sites, as if all
episodes of a site were one; else the quantiles of 2,000 bootstrap draws of whole sites, but never tighter than those of
no event (or of nothing else), and nothing where there are fewer than five sites.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from detectors.sequential import upper_bound

Row = dict[str, Any]
_FEWEST: Final = 5


@dataclass(frozen=True, slots=True)
class Rate:
    """``events`` of ``n`` episodes in ``clusters`` sites; one-sided 95% bounds below and above."""

    events: int
    n: int
    clusters: int
    low: float
    high: float

    def __str__(self) -> str:
        if not self.n:
            return "-"
        return f"{self.events}/{self.n} = {self.events / self.n:.3f} [{self.low:.3f}, {self.high:.3f}]"


def rate(rows: Sequence[Row], event: Callable[[Row], bool]) -> Rate:
    """How often ``event`` holds, with clustered bounds.

    >>> rows = [{"data": "a", "seed": i} for i in range(20)]
    >>> str(rate(rows, lambda r: False))
    '0/20 = 0.000 [0.000, 0.139]'
    """
    by_site: dict[tuple[str, int], list[bool]] = defaultdict(list)
    for row in rows:
        by_site[row["data"], row["seed"]].append(bool(event(row)))
    events, sizes = np.array([sum(v) for v in by_site.values()]), np.array([len(v) for v in by_site.values()])
    n, k = int(sizes.sum()), int(events.sum())
    if not n:
        return Rate(0, 0, 0, 0.0, 1.0)
    clusters = len(sizes)
    if k in (0, n):
        high = float(upper_bound(0 if k == 0 else clusters, clusters))
        low = 0.0 if k == 0 else 1 - float(upper_bound(0, clusters))
        return Rate(k, n, clusters, low, high)
    if clusters < _FEWEST:
        return Rate(k, n, clusters, 0.0, 1.0)
    draws = np.random.default_rng(0).integers(0, clusters, (2000, clusters))
    shares = events[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.quantile(shares, [0.05, 0.95])
    least = float(upper_bound(0, clusters))
    return Rate(k, n, clusters, min(float(low), 1 - least), max(float(high), least))
