"""Nulls for whole windows: one event of a session, the reference's own error as a margin, one e-value a window.

Three facts carry every test of windows here:

- Events of one session repeat each other, sessions hardly do. So a window is compared through one event a session
  (`first_of_sessions`), in the stream and in the reference alike.
- The reference is finite, and its error is the same in every window: without a margin that bias would add up over
  windows until it raised an alarm. Distances obey d(window, R) <= d(window, P) + d(P, R), R the reference and P
  the truth; the second term is bounded once, at a stated level, and taken off. Given that bound, p-values of different
  windows are independent and super-uniform, so their e-values may be accumulated (`WindowRuns`).
- What correlates sessions with one another (an hour, a campaign) shows in consecutive blocks of the reference:
  `dispersion` measures how much more such blocks differ than random ones, and the tests count that many fewer sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from detectors.batch import Bools, Floats, Ints, Strings
from detectors.evidence import State

BLOCK: Final = 64
"""Sessions in a block of the reference: enough to show a common cause, few enough that there are several blocks."""

_MOST_DISPERSION: Final = 4.0  # more than this is the order of a sorted file, not what a stream looks like
_FEWEST_BLOCKS: Final = 6
_SHUFFLES: Final = 4
_MOST_BLOCKS: Final = 100  # enough for the ratio; more would only cost time on large references


def first_of_sessions(session: Strings, fresh: Bools | None = None) -> Ints:
    """Rows of the first event of each session in order (of those that are ``fresh``); no session name: its own session.

    >>> first_of_sessions(np.array(["a", "a", "b", "", ""])).tolist()
    [0, 2, 3, 4]
    >>> first_of_sessions(np.array(["a", "a", "b"]), np.array([False, False, True])).tolist()
    [2]
    """
    rows = np.arange(len(session)) if fresh is None else np.flatnonzero(fresh)
    names = session[rows].tolist()
    if "" in names:
        names = [name or row for row, name in enumerate(names)]
    # of equal keys the last one stays: read backwards, that is the first event
    first = dict(zip(reversed(names), reversed(rows.tolist()), strict=True))
    return np.sort(np.fromiter(first.values(), np.int64, len(first)))


def ks_distance(sorted_reference: Floats, values: Floats) -> float:
    """Kolmogorov-Smirnov distance between a sorted reference and ``values`` (ties count right; 0 where one is empty).

    >>> ks_distance(np.array([1.0, 2.0, 3.0, 4.0]), np.array([9.0, 9.0]))
    1.0
    """
    m, n = len(values), len(sorted_reference)
    if m == 0 or n == 0:
        return 0.0
    ordered = np.sort(values)
    steps = np.arange(m + 1) / m
    left, right = _places(sorted_reference, ordered)
    above, below = steps[1:] - right / n, left / n - steps[:-1]
    return float(max(above.max(), below.max(), 0.0))


def ks_distances(sorted_references: Sequence[Floats], values: Floats) -> Floats:
    """`ks_distance` [d] for the columns of ``values`` [m, d], each with its own reference.

    >>> ks_distances([np.array([1.0, 2.0]), np.array([1.0, 2.0])], np.array([[9.0, 1.0], [9.0, 2.0]])).tolist()
    [1.0, 0.0]
    """
    m = len(values)
    if m == 0:
        return np.zeros(values.shape[1])
    ordered = np.sort(values.T, axis=1)
    left, right = np.empty(ordered.shape, np.int64), np.empty(ordered.shape, np.int64)
    for j, known in enumerate(sorted_references):
        left[j], right[j] = known.searchsorted(ordered[j], "left"), known.searchsorted(ordered[j], "right")
    n = np.array([[len(known)] for known in sorted_references])
    steps = np.arange(m + 1) / m
    farthest = np.maximum(steps[1:] - right / np.maximum(n, 1), left / np.maximum(n, 1) - steps[:-1]).max(axis=1)
    return np.asarray(np.where(n[:, 0] > 0, np.maximum(farthest, 0.0), 0.0), np.float64)


def _places(sorted_reference: Floats, values: Floats) -> tuple[Ints, Ints]:
    """How much of the reference lies below each value, and how much at or below it: a second search only for ties."""
    left = np.searchsorted(sorted_reference, values, side="left")
    right = left.copy()
    tied = np.flatnonzero(sorted_reference[np.minimum(left, len(sorted_reference) - 1)] == values)
    right[tied] = np.searchsorted(sorted_reference, values[tied], side="right")
    return left, right


def ks_margin(sessions: ArrayLike, level: float) -> Floats:
    """What d(P, R) exceeds with probability at most ``level``: sqrt(ln(2/level) / 2n) (Massart 1990).

    >>> float(ks_margin(5000, 0.05).round(4))
    0.0192
    """
    n = np.maximum(np.asarray(sessions, np.float64), 1.0)
    return np.asarray(np.sqrt(np.log(2 / level) / (2 * n)), np.float64)


def ks_p(distance: ArrayLike, margin: ArrayLike, sessions: ArrayLike) -> Floats:
    """The p-value min(1, 2 exp(-2 m (d - margin)^2)): Dvoretzky-Kiefer-Wolfowitz inequality, for any distribution.

    >>> bool(ks_p(0.02, 0.02, 200) == 1), bool(ks_p(0.3, 0.02, 200) < 1e-12)
    (True, True)
    """
    excess = np.maximum(np.asarray(distance, np.float64) - np.asarray(margin, np.float64), 0.0)
    return np.asarray(np.minimum(1.0, 2 * np.exp(-2 * np.asarray(sessions, np.float64) * excess**2)), np.float64)


def mid_rank(sorted_reference: Floats, values: Floats) -> Floats:
    """Conformal p-values given the reference, ties halved: the share of it below each value plus half of its equals.

    Given the truth P in place of the reference their mean is 1/2, whatever P is.

    >>> mid_rank(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 2.0, 3.0])).tolist()
    [0.0, 0.5, 0.875]
    """
    left, right = _places(sorted_reference, values)
    return np.asarray((left + right) / (2 * len(sorted_reference)), np.float64)


def mid_rank_bounds(sessions: ArrayLike, error: float) -> Floats:
    """Bounds [2, m] of the mean of `mid_rank` given the reference, as `sequential.RateMonitor` takes them.

    1/2 + z / sqrt(12 n) with the normal quantiles z of ``error`` and of a hundredth of it: that mean is itself one of n
    independent numbers in [0, 1] whose variance is at most 1/12.

    >>> mid_rank_bounds([1000], 0.025).round(4).tolist()
    [[0.5179], [0.5318]]
    """
    quantile = ndtri(1 - np.array([[error], [error / 100]]))
    n = np.maximum(np.asarray(sessions, np.float64), 1.0)
    return np.asarray(np.minimum(0.5 + quantile / np.sqrt(12 * n), 1.0), np.float64)


def dispersion(statistic: Callable[[Ints], Floats], sessions: int, rng: np.random.Generator) -> Floats:
    """How many times more consecutive blocks of the reference differ from all of it than random ones, in 1..4.

    ``statistic`` takes the rows of a block and returns squared distances [t] from the whole reference. Their median
    holds for all; a single one counts for itself as far as it exceeds what the number of blocks makes of chance (two
    standard errors). With fewer than six blocks there is nothing to measure: 1.
    """
    width = statistic(np.arange(min(BLOCK, sessions)))
    count = sessions // BLOCK
    if count < _FEWEST_BLOCKS:
        return np.ones_like(width)
    starts = BLOCK * np.linspace(0, count - 1, min(count, _MOST_BLOCKS)).astype(np.int64)
    count = len(starts)
    ordered = np.mean([statistic(np.arange(s, s + BLOCK)) for s in starts], axis=0)
    orders = [rng.permutation(sessions) for _ in range(_SHUFFLES)]
    mixed = np.mean([statistic(order[s : s + BLOCK]) for order in orders for s in starts], axis=0)
    ratio = np.divide(ordered, mixed, out=np.ones_like(width), where=mixed > 0)
    own = ratio / (1 + 2 * np.sqrt(2 / count))
    return np.asarray(np.clip(np.maximum(np.median(ratio), own), 1.0, _MOST_DISPERSION), np.float64)


class WindowRuns:
    """E-detectors on one e-value a window, counted in votes: R = e (v + R), ``width`` of them side by side, as logs.

    Null: given the past, each e-value has mean <= 1. R minus the votes so far is then a supermartingale, so alarming at
    R >= A has an average run length of at least A votes, however many votes a window brings. This is the
    Shiryaev-Roberts e-detector (Shin, Ramdas & Rinaldo 2022, arXiv 2203.03532) with v bets begun at every window
    instead of one.

    >>> runs = WindowRuns(1)
    >>> for e in (1.0, 1.0, 4.0):
    ...     log_r = runs.update(np.log([e]), 100)
    >>> np.exp(log_r).round(6).tolist()  # ((100) + 100 + 100) * 4
    [1200.0]
    """

    def __init__(self, width: int) -> None:
        self.log_r = np.full(width, -np.inf)

    def update(self, log_e: Floats, votes: ArrayLike) -> Floats:
        """Take one window's log e-values [width] and votes (one number, or [width]; none: no change); returns log R."""
        v = np.broadcast_to(np.asarray(votes, np.float64), self.log_r.shape)
        grown = np.logaddexp(np.log(np.maximum(v, 1.0)), self.log_r) + log_e
        self.log_r = np.where(v > 0, grown, self.log_r)
        return self.log_r

    def state(self) -> State:
        """What `update` has changed."""
        return {"log_r": self.log_r.copy()}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self.log_r = np.array(state["log_r"], np.float64)
