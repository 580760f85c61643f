"""Is the data broken before it reaches the model? Nulls, renamed values, changed units, stuck features; and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from detectors.batch import Floats, Ints, Labels, Reference, Strings, Window
from detectors.evidence import Budget, Contributor, Detector, Evidence, Implicated, State
from detectors.faults.conditional_range import ConditionalRange
from detectors.faults.lone_change import LoneChange
from detectors.faults.open_faults import OpenFault
from detectors.faults.recent_sessions import RecentSessions
from detectors.faults.runs import FaultRuns
from detectors.faults.scan import FaultScan
from detectors.nulls.block_null import first_of_sessions
from detectors.sequential import as_e_value

_LOOKED_AT: Final = 160  # sessions of a scope in a closer look, at most
_SHARPENED: Final = 4  # windows after a fault's first in which its sign is read again
_SCOPES: Final = 12  # scopes that are looked at closely in one window, at most: the strongest


@dataclass(frozen=True, slots=True)
class Parameters:
    """What may be tuned.

    ``min_sessions``: a reference with fewer leaves the detector warming. ``margin_level``: the chance that the
    reference's own error exceeds its bounds. ``sources``: how many are watched one by one (the reference's first).
    ``unit_ratio``: how many times the magnitude must change, and ``outside``: by how much the share of values that are
    unlike their neighbours' must grow. ``confined``: how many features may break at once in one scope.
    """

    min_sessions: int = 100
    margin_level: float = 0.05
    sources: int = 64
    unit_ratio: float = 5.0
    outside: float = 0.1
    confined: int = 3

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
    drawn from. Every scope, feature, indicator and stake has an e-detector (`FaultRuns`); those of a scope and feature
    that exceed ``budget.ask`` are looked at closely, with the sessions since their run began, and the alarm is on the
    weighted sum of those that look like a fault (`LoneChange`).
    False-positive rate: on average at least A = ``budget.alarm`` sessions between false alarms, given a reference whose
    error is within its bounds (probability 1 - ``margin_level``; for sources where their rates differ as a beta
    distribution does, see `shrunken_bound`); the closer look only makes alarms rarer.

    An honest jump of one feature within reach of its neighbours, or of many features at once, is not called a fault;
    neither are small unit changes. An honest jump of one feature, by one large ratio in all its events, cannot be told
    from a unit change.

    It has fired while a fault is open. A fault is over once its feature has been as in the past again, 10,000 to 1
    (`OpenFault`); its evidence then begins anew, and the status goes back to ok when no fault is open.

    ``facts``: cause (nulls, unseen, unit, frozen, zeroed, sentinel, inverted, or None before the alarm), features,
    sources, everywhere, confined (True: what is called a fault moved few features), undo (feature -> proposal), since
    (window of the alarm), recovered (features whose faults are over), changed (source -> features that surely changed
    without looking like a fault; "*" is all sources together).

    >>> PipelineFault(Parameters(), Budget(), np.random.default_rng(0)).name
    'pipeline_fault'
    """

    name: ClassVar[str] = "pipeline_fault"

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:
        self._parameters = parameters
        self._budget = budget
        self._seed = int(rng.integers(2**62))
        self._scan: FaultScan | None = None

    def fit(self, reference: Reference) -> None:
        """Learn each scope's rates and quantiles, and the neighbours of every event."""
        rows = first_of_sessions(reference.session)
        x, source = reference.x[rows], reference.source[rows]
        self._names = reference.schema.names
        self._scan = None
        if len(rows) < self._parameters.min_sessions:
            return
        names, count = np.unique(source, return_counts=True)
        self._sources: list[str] = names[np.argsort(-count, kind="stable")].tolist()[: self._parameters.sources]
        rng = np.random.default_rng([self._seed, 0])
        scope = self._scopes_of(source)
        level, scopes = self._parameters.margin_level, len(self._sources) + 1
        categorical = np.array([f.kind == "categorical" for f in reference.schema.features])
        ranges = ConditionalRange(x, categorical, rng)
        self._scan = FaultScan(reference.schema, x, scope, scopes, ranges, level, rng)
        self._runs = FaultRuns(self._scan, scopes)
        self._recent = RecentSessions(x.shape[1])
        limits = (self._parameters.confined, self._parameters.outside, self._parameters.unit_ratio)
        self._lone = LoneChange(reference.schema, x, scope, limits, ranges)
        self._open: list[OpenFault] = []  # the one with most evidence first: of a feature, its sign is told
        self._recovered: list[str] = []

    def observe(self, window: Window, labels: Labels | None) -> Evidence:  # noqa: ARG002 - labels say nothing here
        """Scan the window's fresh sessions."""
        if self._scan is None:
            return Evidence(self.name, "warming", note="the reference has too few sessions")
        rows = first_of_sessions(window.batch.session, window.fresh)
        x, scope = window.batch.x[rows], self._scopes_of(window.batch.source[rows])
        self._runs.update(self._scan.scan(x, scope, self._runs.evidence().max(axis=0)))
        self._recent.add(x, scope)
        self._close(x, scope)
        evidence = self._runs.evidence()
        total = self._look(evidence, window.index)
        self._open.sort(key=lambda fault: -evidence[fault.scope, fault.feature])
        return Evidence(
            self.name,
            "fired" if self._open else "ok",
            score=float(evidence.max()),
            threshold=self._budget.alarm,
            e_value=as_e_value(max(total, 0.0)),
            top=self._top(evidence),
            suspects=bool(total >= np.log(self._budget.ask)),
            implicated=self._implicated(),
            gauges=_gauges(window.batch.x),
            facts=self._facts(evidence),
        )

    def state(self) -> State:
        """The runs, the sessions looked at, and the open faults."""
        if self._scan is None:
            return {}
        return {
            "runs": self._runs.state(),
            "recent": self._recent.state(),
            "open": [fault.state() for fault in self._open],
            "recovered": list(self._recovered),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        if self._scan is None:
            return
        self._runs.restore(state["runs"])
        self._recent.restore(state["recent"])
        self._open = [OpenFault.restored(fault) for fault in state["open"]]
        self._recovered = list(state["recovered"])

    def _scopes_of(self, source: Strings) -> Ints:
        """Number of each row's source, 1 and up; -1 is one that the reference does not have."""
        number = {name: i + 1 for i, name in enumerate(self._sources)}
        return np.fromiter((number.get(name, -1) for name in source.tolist()), np.int64, len(source))

    def _close(self, x: Floats, scope: Ints) -> None:
        """Leave out the faults that are over."""
        for fault in self._open:
            fault.observe(x[:, fault.feature] if fault.scope == 0 else x[scope == fault.scope, fault.feature])
        over = [fault for fault in self._open if fault.over]
        self._open = [fault for fault in self._open if not fault.over]
        for fault in over:
            self._recovered.append(f"{self._names[fault.feature]} at {self._named(fault.scope)}")
            if all(other.feature != fault.feature for other in self._open):
                self._runs.forget(fault.feature)

    def _look(self, evidence: Floats, index: int) -> float:
        """Log of the sum of the runs that look like faults; opens them once it exceeds the alarm budget."""
        known = {(fault.scope, fault.feature) for fault in self._open}
        found = [fault for s in self._suspicious(evidence) for fault in self._faults(s, evidence, index, known)]
        found = self._without_echoes(found)
        self._sharpen(index)
        cells = [(fault.scope, fault.feature) for fault in [*self._open, *found]]
        total = float(np.logaddexp.reduce([evidence[cell] for cell in cells])) if cells else -np.inf
        if self._open or total >= np.log(self._budget.alarm):
            if not self._open and found:
                self._recovered = []
            self._open += found
        return total

    def _sharpen(self, index: int) -> None:
        """Read the signs of young faults again: a ratio that few sessions gave is a rough one."""
        for fault in self._open:
            if fault.since < index <= fault.since + _SHARPENED and fault.quiet == 0:
                age = min(self._runs.age(fault.scope, fault.feature), _LOOKED_AT)
                together = [f.feature for f in self._open if f.scope == fault.scope]
                sign = self._lone.sign(self._recent.of(fault.scope, age), fault.scope, fault.feature, together)
                if sign is not None and sign.cause == fault.sign.cause:
                    fault.sign = sign

    def _without_echoes(self, found: list[OpenFault]) -> list[OpenFault]:
        """A fault of few sources also shows in all together: it is theirs."""
        own = {fault.feature for fault in [*self._open, *found] if fault.scope != 0}
        few = [f for f in found if f.scope == 0 and f.feature in own and not self._widespread(f)]
        return [fault for fault in found if fault not in few]

    def _widespread(self, fault: OpenFault) -> bool:
        return 2 * sum(self._also(fault, s + 1) for s in range(len(self._sources))) >= len(self._sources)

    def _suspicious(self, evidence: Floats) -> list[int]:
        """Scopes to look at closely, the strongest first."""
        best = evidence.max(axis=1)
        order = np.argsort(-best, kind="stable")
        return [int(s) for s in order if best[s] >= np.log(self._budget.ask)][:_SCOPES]

    def _faults(self, s: int, evidence: Floats, index: int, known: set[tuple[int, int]]) -> list[OpenFault]:
        """The faults of a scope that are not open yet."""
        in_all, alone = (movement[s] for movement in self._runs.movement())
        suspected = [j for j in np.flatnonzero(evidence[s] >= np.log(self._budget.ask)).tolist() if (s, j) not in known]
        for features in self._lone.candidates(in_all, alone, suspected):
            if all((s, j) in known for j in features):
                continue
            last = min(self._runs.age(s, j) for j in features)
            now = self._recent.of(s, min(last, _LOOKED_AT))
            signs = self._lone.signs(now, s, features, in_all)
            if signs:
                past = self._lone.past(s)
                new = [(j, sign) for j, sign in signs.items() if (s, j) not in known]
                return [OpenFault.found(s, j, sign, index, now[:, j], past[:, j]) for j, sign in new]
        return []

    def _named(self, scope: int) -> str:
        return "all sources" if scope == 0 else self._sources[scope - 1]

    def _facts(self, evidence: Floats) -> dict[str, Any]:
        changed = self._changed(evidence)
        if not self._open:
            return {"cause": None, "changed": changed, "recovered": list(self._recovered)}
        features = list(dict.fromkeys(fault.feature for fault in self._open))
        hit = self._hit_sources()
        return {
            "cause": self._open[0].sign.cause,
            "features": [self._names[j] for j in features],
            "sources": [self._sources[s - 1] for s in hit],
            "everywhere": 2 * len(hit) >= len(self._sources),
            "confined": True,
            "undo": {self._names[f.feature]: f.sign.undo for f in reversed(self._open) if f.sign.undo},
            "since": min(fault.since for fault in self._open),
            "recovered": list(self._recovered),
            "changed": changed,
        }

    def _changed(self, evidence: Floats) -> dict[str, list[str]]:
        """Features that surely changed, by source, without being called a fault."""
        known = {(fault.scope, fault.feature) for fault in self._open}
        cells = np.argwhere(evidence >= np.log(self._budget.alarm)).tolist()
        out: dict[str, list[str]] = {}
        for s, j in cells:
            if (s, j) not in known:
                out.setdefault("*" if s == 0 else self._sources[s - 1], []).append(self._names[j])
        return out

    def _hit_sources(self) -> list[int]:
        """Sources where an open fault is seen."""
        hit = {fault.scope for fault in self._open} - {0}
        others = [s for s in range(1, len(self._sources) + 1) if s not in hit]
        return sorted(hit | {s for s in others if any(self._also(fault, s) for fault in self._open)})

    def _also(self, fault: OpenFault, s: int) -> bool:
        now, past = self._recent.of(s, _LOOKED_AT), self._lone.past(s)
        return fault.seen_in(now[:, fault.feature], past[:, fault.feature])

    def _implicated(self) -> Implicated:
        if not self._open:
            return Implicated()
        features = {self._names[f.feature]: f.sign.shown for f in reversed(self._open)}
        return Implicated(features=features, sources=tuple(self._sources[s - 1] for s in self._hit_sources()))

    def _top(self, evidence: Floats) -> tuple[Contributor, ...]:
        best = evidence.max(axis=0)
        order = np.argsort(-best, kind="stable")[:5]
        return tuple(Contributor(self._names[j], float(best[j])) for j in order)


def _gauges(x: Floats) -> dict[str, float]:
    if x.size == 0:
        return {}
    share = np.isnan(x).mean(axis=0)
    return {"null_share": float(share.mean()), "null_share_max": float(share.max())}
