"""Sequential cores of the detectors on streams in which nothing happens, many at once.

A core draws a reference of its own for each of ``streams`` streams, fits what the detector fits, and lets sessions
vote. What crosses a budget counts once, and the statistic begins anew (a detector's alarm stays until it is fitted
again, so that a bad draw of the reference counts more often here). Sessions have a shared cause: their events are
normal with correlation ``Law.correlation``, so that an event's depth repeats itself within a session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from scipy.special import ndtr, ndtri

from detectors.batch import Floats, Ints
from detectors.evidence import Budget
from detectors.nulls.block_null import (
    WindowRuns,
    dispersion,
    ks_distance,
    ks_margin,
    ks_p,
    mid_rank,
    mid_rank_bounds,
)
from detectors.sequential import RateMonitor, cautious_bounds, p_to_e, session_maximum, session_mean
from detectors.version_disagreement import Parameters as VersionParameters
from separation.crossings import Core, Counter, Crossings, Law
from separation.null_labels import label_votes

_FLOOR: Final = 0.05
_STEP: Final = 0.25  # of the depths of a model whose scores are coarse, as a tree's are


def version_votes(rng: np.random.Generator, law: Law, streams: int, votes: int, budget: Budget) -> Crossings:
    """`version_disagreement`: sessions vote with any and with the share of their events, at three thresholds."""
    p = VersionParameters()
    fits = [_churn_of_a_reference(rng, law, p) for _ in range(streams)]
    thresholds, null = np.stack([f[0] for f in fits]), np.concatenate([f[1] for f in fits], axis=1)
    mean = np.array([f[2] for f in fits])
    # one copy begins anew at alarms, the other at requests
    monitor = RateMonitor(np.tile(null, 2))
    count = Counter(streams, budget, 2 * len(p.quantiles))
    for _ in range(-(-votes // law.votes)):
        length = rng.geometric(1 / law.mean_session, (law.votes, streams))
        some, share = _deep_votes(rng, law, thresholds, length)
        scale = np.ones((law.votes, streams, 2 * len(p.quantiles)))
        scale[:, :, : len(p.quantiles)] = np.maximum(length / mean, 1.0)[..., None]
        both = np.concatenate([some, share], axis=2).reshape(law.votes, -1)
        log_r = monitor.update(np.tile(both, 2), np.tile(scale.reshape(law.votes, -1), 2))
        _begin_anew(monitor, count.see(log_r, law.votes))
    return count.crossings


def _churn_of_a_reference(rng: np.random.Generator, law: Law, p: VersionParameters) -> tuple[Floats, Floats, float]:
    """Thresholds, null rates and mean session length, as `VersionDisagreement.fit` learns them."""
    length = rng.geometric(1 / law.mean_session, law.sessions)
    code = np.repeat(np.arange(law.sessions), length)
    depth = _depth(law, _correlated(rng, law, code, law.sessions))
    thresholds = np.maximum(np.quantile(session_maximum(depth, code, law.sessions), p.quantiles), _FLOOR)
    deep = (depth[:, None] >= thresholds).astype(np.float64)
    votes = np.concatenate([session_maximum(deep, code, law.sessions), session_mean(deep, code, law.sessions)], axis=1)
    return thresholds, cautious_bounds(votes.sum(axis=0), law.sessions, p.level), float(length.mean())


def _correlated(rng: np.random.Generator, law: Law, code: Ints, sessions: int) -> Floats:
    shared = np.sqrt(law.correlation) * rng.standard_normal(sessions)
    own: Floats = np.sqrt(1 - law.correlation) * rng.standard_normal(len(code))
    return own + shared[code]


def _depth(law: Law, z: Floats) -> Floats:
    depth = np.maximum(z - ndtri(1 - law.churn), 0.0)
    return np.ceil(depth / _STEP) * _STEP if law.coarse else depth


def _deep_votes(rng: np.random.Generator, law: Law, thresholds: Floats, length: Ints) -> tuple[Floats, Floats]:
    """Any and share of ``length`` [n, streams] events that reach ``thresholds`` [streams, m]: both [n, streams, m].

    Given the shared cause the events are independent, so that their number is binomial, at each threshold among those
    that reached the one before.
    """
    # of coarse depths, those reach a threshold that lie above the step before it
    above = (np.ceil(thresholds / _STEP) - 1) * _STEP if law.coarse else thresholds
    shared = np.sqrt(law.correlation) * rng.standard_normal(length.shape)
    rest = np.sqrt(1 - law.correlation)
    reach = ndtr((shared[..., None] - ndtri(1 - law.churn) - above) / rest)
    hits = np.zeros(reach.shape)
    left, before = length, np.ones(length.shape)
    for m in range(reach.shape[2]):
        chance = np.divide(reach[..., m], before, out=np.zeros(length.shape), where=before > 0)
        left = rng.binomial(left, np.minimum(chance, 1.0))
        hits[..., m], before = left, reach[..., m]
    return (hits > 0).astype(np.float64), hits / length[..., None]


def served_votes(rng: np.random.Generator, law: Law, streams: int, votes: int, budget: Budget) -> Crossings:
    """`served_mismatch` at the edge of its null: a session differs wholly or not at all, one in a thousand."""
    rate = 0.001
    monitor = RateMonitor(np.full(2 * streams, rate))
    count = Counter(streams, budget, 1)
    for _ in range(-(-votes // law.votes)):
        vote = (rng.random((law.votes, streams)) < rate).astype(np.float64)
        _begin_anew(monitor, count.see(monitor.update(np.tile(vote, 2)), law.votes))
    return count.crossings


def window_runs(rng: np.random.Generator, law: Law, streams: int, votes: int, budget: Budget) -> Crossings:
    """`prediction_entropy` and continuous features: Kolmogorov-Smirnov, one event a session, an e-value a window.

    Four values a session that share its cause; the last may be coarse. Joint margin .05 for the four.
    """
    width = 4
    sorted_, spread, margin = [], [], []
    for _ in range(streams):
        values = _session_values(rng, law, law.sessions, width)
        ordered = np.sort(values, axis=0)
        sorted_.append(ordered)

        def squares(rows: Ints, values: Floats = values, ordered: Floats = ordered) -> Floats:
            return _distances(ordered, values[rows]) ** 2

        spread.append(dispersion(squares, law.sessions, rng))
        margin.append(ks_margin(law.sessions / spread[-1], 0.05 / width))
    runs = WindowRuns(2 * width * streams)
    count = Counter(streams, budget, width)
    for _ in range(-(-votes // law.votes)):
        distance = [_distances(o, _session_values(rng, law, law.votes, width)) for o in sorted_]
        p = ks_p(np.array(distance), np.array(margin), law.votes / np.array(spread))
        log_r = runs.update(np.tile(np.log(p_to_e(p)).ravel(), 2), law.votes)
        runs.log_r = np.where(np.repeat(count.see(log_r, law.votes), width), -np.inf, log_r)
    return count.crossings


def rank_votes(rng: np.random.Generator, law: Law, streams: int, votes: int, budget: Budget) -> Crossings:
    """The conformal p-values of `prediction_entropy`, upwards and downwards, of one value a session."""
    sorted_ = [np.sort(_session_values(rng, law, law.sessions, 1)[:, 0]) for _ in range(streams)]
    bounds = mid_rank_bounds(np.full(2 * streams, law.sessions), 0.05 / 8)
    monitor = RateMonitor(np.tile(bounds, 2))
    count = Counter(streams, budget, 2)
    for _ in range(-(-votes // law.votes)):
        up = np.column_stack([mid_rank(o, _session_values(rng, law, law.votes, 1)[:, 0]) for o in sorted_])
        vote = np.stack([up, 1 - up], axis=2).reshape(law.votes, -1)
        _begin_anew(monitor, count.see(monitor.update(np.tile(vote, 2)), law.votes))
    return count.crossings


def _session_values(rng: np.random.Generator, law: Law, n: int, width: int) -> Floats:
    shared = np.sqrt(law.correlation) * rng.standard_normal((n, 1))
    values: Floats = shared + np.sqrt(1 - law.correlation) * rng.standard_normal((n, width))
    if law.coarse:
        values[:, -1] = np.ceil(values[:, -1] / _STEP)
    return values


def _distances(ordered: Floats, values: Floats) -> Floats:
    return np.array([ks_distance(ordered[:, j], values[:, j]) for j in range(values.shape[1])])


def _begin_anew(monitor: RateMonitor, crossed: np.ndarray) -> None:
    if crossed.any():
        log_r = np.array(monitor.state()["log_r"])
        log_r[np.repeat(crossed, len(log_r) // len(crossed))] = -np.inf
        monitor.restore({"log_r": log_r})


CORES: Final[Mapping[str, Core]] = {
    "version_votes": version_votes,
    "served_votes": served_votes,
    "label_votes": label_votes,
    "rank_votes": rank_votes,
    "window_runs": window_runs,
}
