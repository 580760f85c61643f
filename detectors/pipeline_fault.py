"""Is the data broken before it reaches the model? Nulls, renamed values, changed units, frozen features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from detectors.batch import Floats, Ints, Labels, Reference, Strings, Window
from detectors.block_null import WindowRuns, first_of_sessions
from detectors.conditional_range import ConditionalRange
from detectors.evidence import Budget, Contributor, Detector, Evidence, Implicated, State
from detectors.fault_scan import RATES, FaultScan, Scan
from detectors.schema import UNSEEN, Schema
from detectors.sequential import as_e_value, log_mean, p_to_e

CAUSES: Final = ("nulls", "unseen", "unit", "frozen")
_NULLS, _UNSEEN, _UNIT, _FROZEN = range(4)
_LOOK: Final = 0.05  # below it, what moved is looked at closely; above it counts as nothing
_ODD: Final = 0.01  # below it, a cell is named in a finding
_MOVED: Final = 0.1  # below it, a feature counts as moved beside another: bounds are wide, so chance rarely gets there


@dataclass(frozen=True, slots=True)
class Parameters:
    """What may be tuned.

    ``min_sessions``: a reference with fewer leaves the detector warming. ``margin_level``: the chance that the
    reference's own error exceeds its bounds. ``sources``: how many are watched one by one (the reference's first).
    ``unit_ratio``: how many times the median magnitude must change, and ``outside``: by how much the share of values
    outside their neighbours' range must grow, before a unit is called changed. ``confined``: how many features may
    move in a fault of one feature.
    """

    min_sessions: int = 100
    margin_level: float = 0.05
    sources: int = 64
    unit_ratio: float = 5.0
    outside: float = 0.1
    confined: int = 2

    def __post_init__(self) -> None:
        if min(self.min_sessions, self.sources, self.confined) < 1:
            raise ValueError("min_sessions, sources and confined are at least 1")
        if not 0 < self.margin_level < 1 or not 0 < self.outside < 1:
            raise ValueError(f"margin_level and outside lie in (0, 1), got {self.margin_level}, {self.outside}")
        if self.unit_ratio <= 1:
            raise ValueError(f"unit_ratio is above 1, got {self.unit_ratio}")


class PipelineFault(Detector):
    """`FaultScan` over sources x features, for all sources together and each alone, one event a session.

    Null: in every scope, fresh sessions are independent draws from what that scope's sessions in the reference were
    drawn from. Each scope, cause and feature has a p-value per window -> e (`p_to_e`) -> R = e (v + R), v the scope's
    votes (`WindowRuns`); the alarm is on their weighted mean (half on all sources together, half over ``sources``).
    False-positive rate: on average at least A = ``budget.alarm`` sessions between false alarms, given a reference
    whose error is within its bounds (probability 1 - ``margin_level``).

    The null is narrower than "no fault", so a p-value counts as 1, which only loses power, unless what moved looks like
    a fault. unseen: a known value that made up as many sessions vanished (a renaming; a new value is no fault). unit:
    the median magnitude changed by ``unit_ratio``, the values left the range of their neighbours in the other features,
    and at most ``confined`` features moved. frozen: at most ``confined`` features moved. An honest jump of one feature
    within reach of its neighbours, or of many features at once, is not called a fault; neither are small unit changes.
    An honest jump of one feature beyond all of that cannot be told from a unit change.

    ``facts``: cause (nulls, unseen, unit, frozen, zeroed, or None before the alarm), features, sources, everywhere,
    confined (at most ``confined`` features moved).

    >>> PipelineFault(Parameters(), Budget(), np.random.default_rng(0)).name
    'pipeline_fault'
    """

    name: ClassVar[str] = "pipeline_fault"

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:
        self._parameters = parameters
        self._budget = budget
        self._seed = int(rng.integers(2**62))
        self._scan: FaultScan | None = None
        self._runs = WindowRuns(1)
        self._slots: list[str] = []
        self._finding: dict[str, Any] = {"cause": None}
        self._fired = False

    def fit(self, reference: Reference) -> None:
        """Learn each scope's rates and quantiles, and the neighbours of every event."""
        rows = first_of_sessions(reference.session)
        x, source = reference.x[rows], reference.source[rows]
        self._schema = reference.schema
        self._forget(x.shape[1])
        self._scan = None
        if len(rows) < self._parameters.min_sessions:
            return
        names, count = np.unique(source, return_counts=True)
        self._slots = names[np.argsort(-count, kind="stable")].tolist()[: self._parameters.sources]
        rng = np.random.default_rng([self._seed, 0])
        self._x, self._scope = x, self._scopes_of(source)
        level = self._parameters.margin_level
        scopes = self._parameters.sources + 1
        self._scan = FaultScan(reference.schema, x, self._scope, scopes=scopes, level=level, rng=rng)
        categorical = np.array([f.kind == "categorical" for f in reference.schema.features])
        self._ranges = ConditionalRange(x, categorical, rng)

    def observe(self, window: Window, labels: Labels | None) -> Evidence:  # noqa: ARG002 - labels say nothing here
        """Scan the window's fresh sessions."""
        if self._scan is None:
            return Evidence(self.name, "warming", note="the reference has too few sessions")
        rows = first_of_sessions(window.batch.session, window.fresh)
        x, scope = window.batch.x[rows], self._scopes_of(window.batch.source[rows])
        scan = self._scan.scan(x, scope)
        p = self._fault_p(scan, x, scope)
        votes = np.broadcast_to(scan.votes[:, None, None], p.shape)
        log_r = self._runs.update(np.log(p_to_e(p)).ravel(), votes.ravel())
        total = log_mean(log_r, self._weights)
        self._fired |= bool(total >= np.log(self._budget.alarm))
        if p.min() < _ODD:
            self._finding = self._describe(scan, p, x, scope)
        return Evidence(
            self.name,
            "fired" if self._fired else "ok",
            score=float(-np.log10(max(p.min(), 1e-300))),
            threshold=self._budget.alarm,
            e_value=as_e_value(total),
            top=self._top(p),
            suspects=bool(total >= np.log(self._budget.ask)),
            implicated=self._implicated(),
            gauges=_gauges(window.batch.x),
            facts={k: v for k, v in self._finding.items() if k != "values"} if self._fired else {"cause": None},
        )

    def state(self) -> State:
        """The runs, the sources met, what was found last, and whether it fired."""
        finding = dict(self._finding)
        return {"runs": self._runs.state(), "slots": list(self._slots), "finding": finding, "fired": self._fired}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._runs.restore(state["runs"])
        self._slots = list(state["slots"])
        self._finding = dict(state["finding"])
        self._fired = bool(state["fired"])

    def _forget(self, d: int) -> None:
        scopes = self._parameters.sources + 1
        cells = len(CAUSES) * d
        self._runs = WindowRuns(scopes * cells)
        self._weights = np.repeat(np.array([0.5, *[0.5 / (scopes - 1)] * (scopes - 1)]) / cells, cells)
        self._finding = {"cause": None}
        self._fired = False

    def _scopes_of(self, source: Strings) -> Ints:
        """Number of each row's source, 1 and up; new sources take free slots, and -1 is one that finds none."""
        number = {name: i + 1 for i, name in enumerate(self._slots)}
        for name in source.tolist():
            if name not in number and len(self._slots) < self._parameters.sources:
                self._slots.append(name)
                number[name] = len(self._slots)
        return np.fromiter((number.get(name, -1) for name in source.tolist()), np.int64, len(source))

    def _fault_p(self, scan: Scan, x: Floats, scope: Ints) -> Floats:
        """p-values [scopes, causes, d], 1 where what moved does not look like a fault."""
        rate = dict(zip(RATES, scan.rates.swapaxes(0, 1), strict=True))
        unit = rate["odd"]
        moved = _moved(scan)
        alone = (moved <= self._parameters.confined)[:, None]
        p = np.stack([rate["nulls"], rate["unseen"], np.where(alone, unit, 1.0), np.where(alone, scan.frozen, 1.0)], 1)
        for s, cause, j in np.argwhere(p[:, [_UNSEEN, _UNIT]] < _LOOK):
            rows = x if s == 0 else x[scope == s]
            past = self._x if s == 0 else self._x[self._scope == s]
            plausible = self._left_its_range(rows, past, j) if cause else _renamed(rows[:, j], past[:, j])
            if not plausible:
                p[s, (_UNSEEN, _UNIT)[cause], j] = 1.0
        # what is not rare enough to be looked at must not count either
        p[:, [_UNSEEN, _UNIT]] = np.where(p[:, [_UNSEEN, _UNIT]] < _LOOK, p[:, [_UNSEEN, _UNIT]], 1.0)
        return p

    def _left_its_range(self, rows: Floats, past: Floats, j: int) -> bool:
        ratio = _ratio(rows[:, j], past[:, j])
        if max(ratio, 1 / ratio) < self._parameters.unit_ratio:
            return False
        return self._ranges.excess(rows, j) >= self._parameters.outside

    def _describe(self, scan: Scan, p: Floats, x: Floats, scope: Ints) -> dict[str, Any]:
        """The finding at the strongest run among the cells that are odd in this window."""
        runs = np.where(p < _ODD, self._runs.log_r.reshape(p.shape), -np.inf)
        s, cause, _ = (int(i) for i in np.unravel_index(np.argmax(runs), p.shape))
        features = np.flatnonzero(p[s, cause] < _ODD)
        rows = x if s == 0 else x[scope == s]
        past = self._x if s == 0 else self._x[self._scope == s]
        hit, everywhere = _sources(scan, s, cause, features)
        zeroed = cause == _FROZEN and bool(np.all(np.nan_to_num(rows[:, features]) == 0))
        return {
            "cause": "zeroed" if zeroed else CAUSES[cause],
            "features": [self._schema.names[j] for j in features],
            "values": {self._schema.names[j]: _shown(self._schema, cause, rows, past, int(j)) for j in features},
            "sources": [self._slots[i - 1] for i in hit],
            "everywhere": everywhere,
            "confined": bool(_moved(scan)[s] <= self._parameters.confined),
        }

    def _implicated(self) -> Implicated:
        if not self._fired or self._finding["cause"] is None:
            return Implicated()
        return Implicated(features=self._finding["values"], sources=tuple(self._finding["sources"]))

    def _top(self, p: Floats) -> tuple[Contributor, ...]:
        best = -np.log10(np.maximum(p.min(axis=(0, 1)), 1e-300))
        order = np.argsort(-best, kind="stable")[:5]
        return tuple(Contributor(self._schema.names[j], float(best[j])) for j in order)


def _sources(scan: Scan, s: int, cause: int, features: Ints) -> tuple[list[int], bool]:
    """Numbers of the sources that are affected, and whether all are: none stands out, or half of them rose."""
    rate = {_NULLS: 0, _UNSEEN: 1, _UNIT: 4}.get(cause)
    p = (scan.frozen if rate is None else scan.rates[:, rate])[1:, features].min(axis=1)
    raised = p < _ODD if rate is None else scan.raised[1:, rate, features].any(axis=1)
    present = np.flatnonzero(scan.votes[1:]) + 1
    odd = np.flatnonzero(p < _ODD) + 1
    if (s == 0 and len(odd) == 0) or np.sum(raised) >= len(present) / 2:
        return present.tolist(), True
    return sorted({s, *odd.tolist()} - {0}), False


def _moved(scan: Scan) -> Ints:
    """How many features moved by themselves in each scope, or in all sources together, where that is more.

    One source alone has too few sessions to show that many moved. Residuals also move when another feature did.
    """
    moved = np.sum(np.minimum(scan.rates[:, :4].min(axis=1), scan.frozen) < _MOVED, axis=1)
    return np.asarray(np.maximum(moved, moved[0]), np.int64)


def _ratio(now: Floats, past: Floats) -> float:
    """Ratio of the medians of non-zero magnitudes; 1 where there are none."""
    sizes = [np.abs(v[(v != 0) & np.isfinite(v)]) for v in (now, past)]
    if min(len(s) for s in sizes) == 0:
        return 1.0
    return float(np.median(sizes[0]) / np.median(sizes[1]))


def _renamed(now: Floats, past: Floats) -> bool:
    """Whether one known value, expected at least 3 times and half as often as unseen ones came, is gone."""
    values, counts = np.unique(past[past >= 0], return_counts=True)
    expected = counts / len(past) * len(now) if len(past) else counts.astype(np.float64)
    gone = ~np.isin(values, now)
    needed = max(3.0, 0.5 * float(np.sum(now == UNSEEN)))
    return bool(np.any(expected[gone] >= needed))


def _shown(schema: Schema, cause: int, rows: Floats, past: Floats, j: int) -> str:
    """What the feature looks like now, in words."""
    if cause == _UNIT:
        return f"x{_ratio(rows[:, j], past[:, j]):.3g}"
    if cause == _FROZEN:
        return f"always {schema.features[j].show(float(rows[~np.isnan(rows[:, j]), j][0]))}"
    share = np.mean(np.isnan(rows[:, j])) if cause == _NULLS else np.mean(rows[:, j] == UNSEEN)
    return f"{CAUSES[cause]} {share:.0%}"


def _gauges(x: Floats) -> dict[str, float]:
    if x.size == 0:
        return {}
    return {"null_share": float(np.mean(np.isnan(x))), "null_share_max": float(np.mean(np.isnan(x), axis=0).max())}
