"""How sure the serving version is: the distributions of its entropy and of its margin against the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from detectors.batch import Floats, Labels, Reference, Window
from detectors.evidence import Budget, Contributor, Detector, Evidence, State
from detectors.nulls.adwin import LatchedAdwin
from detectors.nulls.block_null import (
    WindowRuns,
    dispersion,
    first_of_sessions,
    ks_distance,
    ks_margin,
    ks_p,
    mid_rank,
    mid_rank_bounds,
)
from detectors.sequential import RateMonitor, as_e_value, log_mean, p_to_e

_STREAMS: Final = ("entropy", "margin")
_TINY: Final = 1e-12
_PARTS: Final = 3  # distances, ranks, ADWIN


@dataclass(frozen=True, slots=True)
class Parameters:
    """What may be tuned.

    ``min_sessions``: a reference with fewer leaves the detector warming. ``margin_level``: the chance that the
    reference's own error exceeds the margin. ``block``: sessions in one value of ADWIN.
    """

    min_sessions: int = 100
    margin_level: float = 0.05
    block: int = 10

    def __post_init__(self) -> None:
        if self.min_sessions < 1 or self.block < 1:
            raise ValueError(f"min_sessions and block are at least 1, got {self.min_sessions}, {self.block}")
        if not 0 < self.margin_level < 1:
            raise ValueError(f"margin_level lies between 0 and 1, got {self.margin_level}")


def certainty(scores: Floats) -> Floats:
    """Entropy -sum p ln p / ln k and logit margin ln p1 - ln p2 of the top two classes: [n, 2], less rows with NaN.

    >>> certainty(np.array([[0.5, 0.5], [0.8, 0.2], [np.nan, 1.0]])).round(3).tolist()
    [[1.0, 0.0], [0.722, 1.386]]
    """
    known = scores[np.all(np.isfinite(scores), axis=1)]
    log = np.log(np.clip(known, _TINY, 1.0))
    entropy = -np.sum(known * log, axis=1) / np.log(scores.shape[1])
    top = np.partition(log, -2, axis=1)[:, -2:]
    return np.column_stack([np.clip(entropy, 0.0, 1.0), top[:, 1] - top[:, 0]])


class PredictionEntropy(Detector):
    """Distances and ranks of entropy and margin, one event a session, and ADWIN on means of blocks of sessions.

    Null: the stream's sessions come from the distribution that the reference's came from, as f scores them. Distances:
    per window p = min(1, 2 exp(-2 m (D - margin)^2)) of Kolmogorov-Smirnov for each of the two, made an e-value and
    accumulated by `WindowRuns`; they see any large change. Ranks: a session votes with its conformal p-value given the
    reference (`mid_rank`), and with 1 less it; the mean of each is at most its `mid_rank_bounds` (`RateMonitor`); they
    see a small shift that lasts. Margin and bounds (joint level 0.05) are the reference's own error, so the run length
    holds given a reference that is no worse than that, which 95% are. `LatchedAdwin` sees the entropy, the reference's
    sessions first, with delta = block / 3A; a detection enters as the e-value of an indicator, 1/delta.

    False-positive rate: a third of the budget A = ``budget.alarm`` goes to each part, so on average there are at least
    A sessions between false alarms. The distances are exact for any distribution, the ranks' bound takes the mean of
    the reference's ranks as normal, ADWIN's delta is River's approximation. Where session blocks of the reference
    differ more than random ones (`dispersion`), sessions count that many times less: only every second votes, say.
    Sources: Massart 1990; Vovk, Gammerman & Shafer 2005 (conformal p-values); Bifet & Gavalda 2007.

    The margin is a logit margin because the entropy of a saturated softmax is flat; its quantiles are in nats.

    >>> PredictionEntropy(Parameters(), Budget(), np.random.default_rng(0)).name
    'prediction_entropy'
    """

    name: ClassVar[str] = "prediction_entropy"

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:
        self._parameters = parameters
        self._budget = budget
        self._seed = int(rng.integers(2**62))
        self._adwin: LatchedAdwin | None = None
        self._runs = WindowRuns(len(_STREAMS))
        self._fired = False

    def fit(self, reference: Reference) -> None:
        """Learn both distributions, their dispersion over session blocks, and how block means vary."""
        values = certainty(reference.f[first_of_sessions(reference.session)])
        self._runs, self._fired, self._adwin = WindowRuns(len(_STREAMS)), False, None
        if len(values) < self._parameters.min_sessions:
            return
        self._sorted = np.sort(values, axis=0)
        self._median = float(np.median(values[:, 0]))
        rng = np.random.default_rng([self._seed, 0])
        self._dispersion = dispersion(lambda rows: self._distances(values[rows]) ** 2, len(values), rng)
        level = self._parameters.margin_level / (2 * len(_STREAMS))
        sessions = len(values) / self._dispersion
        self._margin = ks_margin(sessions, level)
        self._ranks = RateMonitor(np.tile(mid_rank_bounds(sessions, level / 2), 2))
        self._every = int(np.ceil(self._dispersion.max()))
        block = self._parameters.block
        delta = block / (_PARTS * self._budget.alarm)
        self._adwin = LatchedAdwin(values[:, 0], block, delta, float(self._dispersion[0]))

    def observe(self, window: Window, labels: Labels | None) -> Evidence:  # noqa: ARG002 - labels say nothing here
        """Compare the window's fresh sessions with the reference."""
        if self._adwin is None:
            return Evidence(self.name, "warming", note="the reference has too few scored sessions")
        values = certainty(window.f[first_of_sessions(window.batch.session, window.fresh)])
        distance = self._distances(values)
        p = ks_p(distance, self._margin, len(values) / self._dispersion)
        by_distance = log_mean(self._runs.update(np.log(p_to_e(p)), len(values)))
        total = float(np.logaddexp(by_distance, self._by_rank(values))) - np.log(_PARTS)
        if self._adwin.update(values[:, 0]):
            total = float(np.logaddexp(total, np.log(self._budget.alarm)))
        self._fired |= bool(total >= np.log(self._budget.alarm))
        return Evidence(
            self.name,
            "fired" if self._fired else "ok",
            score=float(distance.max()),
            threshold=self._budget.alarm,
            e_value=as_e_value(total),
            top=tuple(Contributor(n, float(d)) for n, d in zip(_STREAMS, distance, strict=True)),
            suspects=bool(total >= np.log(self._budget.ask)),
            gauges=_gauges(certainty(window.f)),
            facts={"adwin": self._adwin.fired, "direction": self._direction(values)},
        )

    def state(self) -> State:
        """The runs, the ranks' bets, what ADWIN saw, and whether it fired."""
        if self._adwin is None:
            return {}
        return {
            "runs": self._runs.state(),
            "ranks": self._ranks.state(),
            "adwin": self._adwin.state(),
            "fired": self._fired,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        if self._adwin is None:
            return
        self._runs.restore(state["runs"])
        self._ranks.restore(state["ranks"])
        self._adwin.restore(state["adwin"])
        self._fired = bool(state["fired"])

    def _by_rank(self, values: Floats) -> float:
        """Log evidence of the ranks, upwards and downwards, after these sessions."""
        own = [mid_rank(self._sorted[:, i], values[:: self._every, i]) for i in range(len(_STREAMS))]
        up = np.column_stack(own)
        return log_mean(self._ranks.update(np.hstack([up, 1 - up])))

    def _distances(self, values: Floats) -> Floats:
        return np.array([ks_distance(self._sorted[:, i], values[:, i]) for i in range(len(_STREAMS))])

    def _direction(self, values: Floats) -> str:
        """Whether the median entropy rose or fell against the reference."""
        change = float(np.median(values[:, 0])) - self._median if len(values) else 0.0
        return "up" if change > 0 else "down" if change < 0 else "none"


def _gauges(values: Floats) -> dict[str, float]:
    if len(values) == 0:
        return {}
    gauges = {"entropy_mean": float(values[:, 0].mean())}
    for label, quantile in zip(("p10", "p50", "p90"), np.quantile(values, (0.1, 0.5, 0.9), axis=0), strict=True):
        gauges |= {f"{stream}_{label}": float(v) for stream, v in zip(_STREAMS, quantile, strict=True)}
    return gauges
