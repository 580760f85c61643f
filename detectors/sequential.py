"""Sequential tests as bets: e-values that grow only when the null is false, with a stated average run length.

A *vote* is one independent look at the stream: one session gives one vote (`Window.fresh`), however many events it has,
because events of one session repeat each other and a test that counts each of them raises thousands of false alarms.

`RateMonitor` is a Shiryaev-Roberts e-detector: the sum of the bets begun at every vote. Alarming when the statistic
reaches A gives an average run length of at least A votes, because R_t - t is a supermartingale (Shin, Ramdas & Rinaldo
2022, arXiv 2203.03532). It does not go numb on a long quiet time. **Detectors that watch a stream report this
statistic as `Evidence.e_value` and compare it with `Budget.alarm` and `Budget.ask`.** Looking only at window ends, or
betting once a window instead of once a vote (`nulls.block_null.WindowRuns`), looks less often, and so only lengthens
the run.

The CUSUM e-detector, M_t = e_t max(M_(t-1), 1), is the best of the same bets in place of their sum. It has the same
guarantee at the same A and is never above R, so that it never alarms sooner: it is not used.

Averages of e-values (with weights that sum to one) are e-values, and averages of e-detectors are e-detectors with the
same run length, under any dependence: `log_mean` joins thresholds, scopes and features.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from detectors.batch import Bools, Floats, Ints, Strings
from detectors.evidence import State

STAKES: Final = (0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 0.8)
"""Shares of the wealth that are bet: a bet grows fastest near c = p - mu0, so the small ones find rare poison."""

_MOST = 700.0  # exp(700) is still finite


def upper_bound(successes: ArrayLike, trials: ArrayLike, level: ArrayLike = 0.95) -> Floats:
    """One-sided Clopper-Pearson upper confidence bound of a rate (Clopper & Pearson 1934); 1 where there are no trials.

    The three are broadcast against each other.

    >>> upper_bound(0, 100).round(4).item()
    0.0295
    >>> upper_bound([3, 5], [1000, 5]).round(4).tolist()
    [0.0077, 1.0]
    """
    k, n, share = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (successes, trials, level)))
    if np.any((k < 0) | (k > n) | (share <= 0) | (share >= 1)):
        raise ValueError(f"need 0 <= successes <= trials and 0 < level < 1, got {k}, {n}, {share}")
    inside = k < n
    bound = betaincinv(k + 1, np.where(inside, n - k, 1), share)
    return np.asarray(np.where(inside, bound, 1.0), np.float64)


def cautious_bounds(successes: ArrayLike, trials: ArrayLike, level: float = 0.95) -> Floats:
    """Bounds [2, m] for `RateMonitor`: `upper_bound` at ``level``, and with a hundredth of its error.

    >>> cautious_bounds([10], 1000).round(4).tolist()
    [[0.0169], [0.0251]]
    """
    return upper_bound(successes, trials, np.array([[level], [1 - (1 - level) / 100]]))


def p_to_e(p: ArrayLike) -> Floats:
    """Calibrate p-values to e-values: (1 - p + p ln p) / (p (ln p)^2), the mean over kappa of kappa p^(kappa-1).

    E[e] <= 1 when P(p <= u) <= u (Vovk & Wang 2021, Annals of Statistics 49:1736). p = 0 is taken as 1e-300.

    >>> p_to_e([1e-4, 0.05, 1.0]).round(3).tolist()
    [117.762, 1.783, 0.5]
    """
    value = np.clip(np.asarray(p, np.float64), 1e-300, 1.0)
    log = np.log(
        np.minimum(value, 1 - 1e-6)
    )  # at p = 1 the formula is 0/0 with limit 1/2, which it has reached by then
    e = (1 - value + value * log) / (value * log**2)
    return np.asarray(np.where(value > 1 - 1e-4, 0.5, e), np.float64)


def log_mean(log_values: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Log of the (weighted) mean of e-values that are given as logs; weights are normed to sum to one.

    >>> round(float(np.exp(log_mean(np.log([1.0, 3.0])))), 6)
    2.0
    """
    logs = np.asarray(log_values, np.float64).ravel()
    share = np.full(logs.shape, 1 / len(logs)) if weights is None else np.asarray(weights, np.float64).ravel()
    top = float(logs.max())
    if np.isneginf(top):
        return top
    return top + float(np.log(np.sum(np.exp(logs - top) * share) / share.sum()))


def as_e_value(log_e: float) -> float:
    """The e-value of a log, kept finite for reports.

    >>> as_e_value(-np.inf), as_e_value(1e9) == as_e_value(700.0)
    (0.0, True)
    """
    return float(np.exp(min(log_e, _MOST)))


def sessions_of(session: Strings) -> tuple[Ints, int]:
    """Number of the session of each event, in order of first appearance, and how many sessions there are.

    Events without a session ("" or "-") are a session each.

    >>> code, count = sessions_of(np.array(["b", "a", "b"]))
    >>> code.tolist(), count
    ([0, 1, 0], 2)
    """
    names: list[str | int] = session.tolist()
    distinct = dict.fromkeys(names)
    if "" in distinct or "-" in distinct:
        names = [i if name in {"", "-"} else name for i, name in enumerate(names)]
        distinct = dict.fromkeys(names)
    number = dict(zip(distinct, range(len(distinct)), strict=True))
    return np.fromiter(map(number.__getitem__, names), np.int64, len(names)), len(number)


def session_maximum(values: Floats, code: Ints, count: int) -> Floats:
    """Maximum of ``values[n]`` or ``values[n, m]`` over the events of each of ``count`` sessions.

    >>> session_maximum(np.array([1.0, 5.0, 2.0]), np.array([0, 1, 0]), 2).tolist()
    [2.0, 5.0]
    """
    out = np.full((count, *values.shape[1:]), -np.inf)
    np.maximum.at(out, code, values)
    return out


def session_mean(values: Floats, code: Ints, count: int) -> Floats:
    """Mean of ``values[n]`` or ``values[n, m]`` over the events of each of ``count`` sessions.

    >>> session_mean(np.array([1.0, 5.0, 2.0]), np.array([0, 1, 0]), 2).tolist()
    [1.5, 5.0]
    """
    out = np.zeros((count, *values.shape[1:]))
    np.add.at(out, code, values)
    length = np.bincount(code, minlength=count).astype(np.float64)
    return out / length.reshape(-1, *([1] * (values.ndim - 1)))


class RateMonitor:
    """E-detectors against P(vote) <= null_rate, m of them side by side: bets begun anew at every vote, and summed.

    R = mean over stakes c of R_c, with R_c = (1 + (c/mu0)(X - mu0))(1 + R_c) after each vote X. Null: votes X in [0, 1]
    whose conditional mean, given the votes before, is at most mu0 (``null_rate``, often an `upper_bound` on the
    reference). Alarm at R >= A: average run length >= A votes, for each of the m. A change after a long quiet time is
    found as fast as one at the start. Bets: Waudby-Smith & Ramdas 2024 (JRSS-B 86:1), with a fixed grid of stakes;
    their sum: Shin, Ramdas & Rinaldo 2022, arXiv 2203.03532.

    A bound that comes from a reference fails for a few draws of it, and bets that run long enough find that out: at 95%
    one reference in twenty raises an alarm in time. Only small stakes do, for a stake c loses on average until the rate
    is about mu0 + c/2. So ``null_rate`` [2, m] may hold a second bound u, of `cautious_bounds`: a stake bets against
    mu = max(mu0, u / (1 + c/4u)) (both bounds scaled first), at which the square root of a bet, 1 + (c/mu)(X - mu),
    hardly grows on average even at rate u. What is far above the reference's rate is found as fast as before. Votes
    must tell as much as those of the reference: means over far longer sessions of independent events tell more.

    >>> monitor = RateMonitor([0.01])
    >>> bool(monitor.update(np.zeros(5000))[0] < np.log(200)), bool(monitor.update(np.ones(5))[0] > np.log(1e6))
    (True, True)
    """

    def __init__(self, null_rate: ArrayLike) -> None:
        rates = np.atleast_2d(np.asarray(null_rate, np.float64))
        if len(rates) > 2 or not np.all((rates > 0) & (rates <= 1)):  # noqa: PLR2004 - the bound and the cautious one
            raise ValueError(f"null_rate must be [m] or [2, m] rates in (0, 1], got {rates}")
        self._rates = rates
        self._log_r = np.full((rates.shape[1], len(STAKES)), -np.inf)

    def update(self, votes: ArrayLike, scale: ArrayLike = 1.0) -> Floats:
        """Take ``votes`` [n] or [n, m] in order (NaN: no vote); returns log R [m].

        ``scale`` [n, 1] or [n, m] raises the null rate of single votes, where they are known to have a higher one.
        """
        step, begun = _log_steps(*_runs_of_zeros(votes, self._rates, scale))
        self._log_r = _sum_of_bets(self._log_r, begun, step)
        return self.log_r

    @property
    def log_r(self) -> Floats:
        """The log statistics [m] so far."""
        return _mean_over_stakes(self._log_r)

    def state(self) -> State:
        """What `update` has changed."""
        return {"log_r": self._log_r.copy()}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._log_r = np.array(state["log_r"], np.float64)


def _mean_over_stakes(logs: Floats) -> Floats:
    """Log of the mean of exp(logs[m, c]) over c."""
    top = logs.max(axis=1)
    safe = np.where(np.isneginf(top), 0.0, top)
    with np.errstate(divide="ignore"):  # log 0 = -inf: no bet has begun yet
        return np.asarray(np.log(np.mean(np.exp(logs - safe[:, None]), axis=1)) + safe, np.float64)


def _runs_of_zeros(votes: ArrayLike, rates: Floats, scale: ArrayLike) -> tuple[Floats, Floats, Bools]:
    """Votes [n] or [n, m] as steps: so many ``zeros`` [k, m], then one vote with X/null - 1 = ``gain`` [k, m, c].

    ``voted`` [k, m] is False where a step ends without such a vote. ``rates`` [1 or 2, m] are the bounds that the null
    of each stake is made of. Most votes are zero, and a row of them is one power: k is one more than the most others of
    any of the m.
    """
    m = rates.shape[1]
    x = np.asarray(votes, np.float64)
    x = np.broadcast_to(x[:, None] if x.ndim == 1 else x, (len(x), m))
    if np.any((x < 0) | (x > 1)):
        raise ValueError(f"votes lie in [0, 1], got {np.nanmin(x)} to {np.nanmax(x)}")
    column, row = np.nonzero((x > 0).T)
    number = np.arange(len(row)) - np.searchsorted(column, column)  # of the vote within its column
    so_far = np.cumsum(x == 0, axis=0)
    steps = int(number.max()) + 2 if len(number) else 1
    reached = np.tile(so_far[-1] if len(so_far) else np.zeros(m), (steps, 1)).astype(np.float64)
    reached[number, column] = so_far[row, column]
    gain, voted = np.zeros((steps, m, len(STAKES))), np.zeros((steps, m), np.bool_)
    raised = rates[:, column] * np.broadcast_to(np.asarray(scale, np.float64), x.shape)[row, column]
    gain[number, column] = x[row, column][:, None] / _null_of_stakes(np.minimum(raised, 1.0)) - 1.0
    voted[number, column] = True
    return np.diff(reached, axis=0, prepend=0.0), gain, voted


def _null_of_stakes(rates: Floats) -> Floats:
    """What each stake bets against [v, c], from one bound [1, v] or an ordinary and a cautious one [2, v]."""
    if len(rates) == 1:
        return np.asarray(rates[0][:, None], np.float64)
    cautious = rates[1][:, None]
    relaxed = cautious / (1 + np.array(STAKES) / (4 * cautious))
    return np.asarray(np.maximum(rates[0][:, None], relaxed), np.float64)


def _log_steps(zeros: Floats, gain: Floats, voted: Bools) -> tuple[Floats, Floats]:
    """For each step of `_runs_of_zeros` and every stake, as logs [k, m, c]: wealth multiplied, and bets begun.

    The wealth is multiplied by (1-c)^zeros (1 + c gain). A bet begins with 1 before every vote: as seen from the step's
    begin, with a = 1-c, these are worth 1 + 1/a + ... + 1/a^zeros, the last only if ``voted``.
    """
    stakes = np.array(STAKES)
    step = np.log1p(gain * stakes)
    begun = np.repeat(np.where(voted, 0.0, -np.inf)[..., None], len(stakes), axis=2)
    k, column = np.nonzero(zeros)
    fallen = zeros[k, column][:, None] * np.log1p(-stakes)
    step[k, column] += fallen
    begun[k, column] = np.log(-np.expm1(fallen) * (1 - stakes) / stakes + voted[k, column][:, None]) - fallen
    return step, begun


def _sum_of_bets(log_r: Floats, begun: Floats, step: Floats) -> Floats:
    """R after n steps: P_n (R_0 + sum_j begun_j / P_(j-1)), P_j the product of the first j steps; all as logs."""
    if len(step) == 0:
        return log_r
    product = np.cumsum(step, axis=0)
    starts = np.concatenate([log_r[None], begun - (product - step)])
    top = np.max(starts, axis=0)
    safe = np.where(np.isneginf(top), 0.0, top)
    with np.errstate(divide="ignore"):  # log 0 = -inf: no bet has begun yet
        total = np.log(np.sum(np.exp(starts - safe), axis=0)) + safe
    return np.asarray(product[-1] + total, np.float64)
