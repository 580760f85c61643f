"""Scores as served against the bundle's own: the model that answers should be the one that was signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from detectors.batch import Bools, Floats, Labels, Reference, Window
from detectors.evidence import Budget, Contributor, Detector, Evidence, Implicated, State
from detectors.sequential import RateMonitor, as_e_value, session_mean, sessions_of

_DIGITS: Final = (2, 3, 4, 5, 6, 7)
_FLOAT32: Final = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True)
class Parameters:
    """``null_rate`` of the events may differ for reasons of no concern; ``noise`` is the tolerance in float32 epsilons.

    ``same`` is the share of the differing events that must agree with LKG, or after a permutation of the classes, to
    be called that. ``events`` ids are kept.
    """

    null_rate: float = 0.001
    noise: float = 2048.0
    same: float = 0.9
    events: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.null_rate < 1 or not 0 < self.same <= 1:
            raise ValueError(f"null_rate and same must be shares, got {self.null_rate} and {self.same}")
        if self.noise < 1 or self.events < 1:
            raise ValueError(f"noise and events must be at least 1, got {self.noise} and {self.events}")


class ServedMismatch(Detector):
    """Share of events whose served scores differ from those of the bundle on the same input.

    An event differs where max over classes |served - f| > tolerance, or where the bundle's score is no number.
    Tolerance: half a unit of the last decimal to which its producer rounds (read off each event, for producers differ:
    the fewest decimals, two to seven, that hold its scores), plus ``noise`` float32 epsilons, 2.4e-4 by default: two
    runtimes that sum in another order differ by some ten epsilons of the logit's scale, and a probability by at most a
    quarter of that. Reduced precision goes beyond it, and shows.
    A session votes with the share of its events that differ. Statistic: Shiryaev-Roberts bets (`RateMonitor`). Null:
    that share is at most ``null_rate`` on average. False positives: an average run length of at least
    ``budget.alarm`` sessions while that holds. Source: Shin, Ramdas & Rinaldo 2022 (e-detectors).

    ``looks_like``: ``wrong_version`` (what was served agrees with LKG instead), ``mapping_error`` (a permutation of the
    classes restores agreement), else ``tampering``. No vetted label is needed: the bundle's own scores are the truth.

    >>> ServedMismatch(Parameters(), Budget(), np.random.default_rng(0)).name
    'served_mismatch'
    """

    name: ClassVar[str] = "served_mismatch"

    def __init__(
        self,
        parameters: Parameters,
        budget: Budget,
        rng: np.random.Generator,  # noqa: ARG002 - detectors are made alike; this one draws nothing
    ) -> None:
        self._parameters = parameters
        self._budget = budget

    def fit(self, reference: Reference) -> None:
        """Start anew; the null needs no reference."""
        self._classes = reference.schema.classes
        self._monitor = RateMonitor([self._parameters.null_rate])
        self._differing = self._like_lkg = self._permuted = self._flipped = 0
        self._events: list[str] = []
        self._fired = self._suspects = False

    def observe(self, window: Window, labels: Labels | None) -> Evidence:  # noqa: ARG002 - no label is needed here
        """Compare the window's served scores with the bundle's."""
        if not window.has_bundle:
            note = "no model file to score with: add the version with its ONNX model to check what is served"
            return Evidence(self.name, "warming", threshold=self._budget.alarm, note=note)
        served = window.batch.scores
        tolerance = self._tolerance(served)
        differs = _apart(served, window.f, tolerance)
        self._vote(window, differs)
        self._explain(window, differs, tolerance)
        log_e = float(self._monitor.log_r[0])
        self._fired = self._fired or bool(log_e >= np.log(self._budget.alarm))
        self._suspects = self._suspects or self._fired or bool(log_e >= np.log(self._budget.ask))
        changed = np.argmax(served, axis=1) != np.argmax(window.f, axis=1)
        share = float(differs.mean()) if len(differs) else 0.0
        return Evidence(
            self.name,
            "fired" if self._fired else "ok",
            score=share,
            threshold=self._budget.alarm,
            e_value=as_e_value(log_e),
            top=self._contributors(served, window.f) if self._suspects else (),
            suspects=self._suspects,
            implicated=Implicated(events=tuple(self._events)) if self._suspects else Implicated(),
            gauges={
                "mismatch_rate": share,
                "class_change_rate": float(np.mean(changed & differs)) if len(differs) else 0.0,
                "tolerance": float(np.median(tolerance)) if len(tolerance) else 0.0,
            },
            facts=self._facts() if self._suspects else {},
        )

    def _tolerance(self, served: Floats) -> Floats:
        """For each event of served[n, k]: one that is not rounded must not make others differ."""
        rounding = np.zeros(len(served))
        for digits in reversed(_DIGITS):
            held = np.all(np.abs(np.round(served, digits) - served) < 1e-9, axis=1)  # noqa: PLR2004 - far below the last decimal
            rounding[held] = 0.5 * 10.0**-digits
        return rounding + self._parameters.noise * _FLOAT32

    def _vote(self, window: Window, differs: Bools) -> None:
        fresh = np.flatnonzero(window.fresh)
        if len(fresh):
            code, count = sessions_of(window.batch.session[fresh])
            self._monitor.update(session_mean(differs[fresh].astype(np.float64), code, count))

    def _explain(self, window: Window, differs: Bools, tolerance: Floats) -> None:
        """Count what the differing events agree with instead."""
        rows = np.flatnonzero(differs)
        if not len(rows):
            return
        served, f, tolerance = window.batch.scores[rows], np.nan_to_num(window.f[rows]), tolerance[rows]
        self._differing += len(rows)
        self._flipped += int(np.sum(np.argmax(served, axis=1) != np.argmax(f, axis=1)))
        if window.g is not None:
            self._like_lkg += int(np.sum(~_apart(served, window.g[rows], tolerance)))
        self._permuted += int(np.sum(~_apart(served, f[:, _best_permutation(served, f)], tolerance)))
        self._events = (self._events + window.batch.id[rows].tolist())[-self._parameters.events :]

    def _contributors(self, served: Floats, f: Floats) -> tuple[Contributor, ...]:
        gap = np.abs(served - np.nan_to_num(f)).mean(axis=0)
        return tuple(Contributor(f"class:{c}", float(gap[i])) for i, c in enumerate(self._classes))

    def _facts(self) -> dict[str, Any]:
        enough = self._parameters.same * self._differing
        looks_like = "tampering"
        if self._like_lkg >= enough:
            looks_like = "wrong_version"
        elif self._permuted >= enough:
            looks_like = "mapping_error"
        return {
            "looks_like": looks_like,
            "differing": self._differing,
            "class_changed": self._flipped,
            "agrees_with_last_known_good": self._like_lkg,
            "agrees_when_permuted": self._permuted,
        }

    def state(self) -> State:
        """Bets and counts."""
        return {
            "monitor": self._monitor.state(),
            "counts": [self._differing, self._like_lkg, self._permuted, self._flipped],
            "events": list(self._events),
            "fired": self._fired,
            "suspects": self._suspects,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._monitor.restore(state["monitor"])
        self._differing, self._like_lkg, self._permuted, self._flipped = (int(c) for c in state["counts"])
        self._events = [str(e) for e in state["events"]]
        self._fired, self._suspects = bool(state["fired"]), bool(state["suspects"])


def _apart(a: Floats, b: Floats, tolerance: Floats) -> Bools:
    # not "more than": what is no number is no agreement
    return np.asarray(~(np.max(np.abs(a - b), axis=1, initial=0.0) <= tolerance), np.bool_)


def _best_permutation(served: Floats, f: Floats) -> list[int]:
    """For each served column the column of f that is nearest to it, each used once (assignment problem)."""
    cost = np.abs(served[:, :, None] - f[:, None, :]).mean(axis=0)
    return [int(c) for c in linear_sum_assignment(cost)[1]]
