"""Do the inputs still look like the reference? Each feature by itself, at each source, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from detectors.batch import Floats, Labels, Reference, Window
from detectors.evidence import Budget, Contributor, Detector, Evidence, State
from detectors.nulls.block_null import WindowRuns, first_of_sessions
from detectors.nulls.marginals import Marginals, benjamini_hochberg
from detectors.nulls.random_features import MeanDiscrepancy
from detectors.nulls.source_marginals import SourceMarginals
from detectors.sequential import as_e_value, log_mean, p_to_e


@dataclass(frozen=True, slots=True)
class Parameters:
    """What may be tuned.

    ``min_sessions``: a reference with fewer leaves the detector warming. ``margin_level``: the chance that the
    reference's own error exceeds the margins. ``discovery_rate``: of the features called drifted in a window.
    ``shown``: how many features are named. ``sources``: how many are also tested by themselves, the busiest ones.
    """

    min_sessions: int = 100
    margin_level: float = 0.05
    discovery_rate: float = 0.05
    shown: int = 5
    sources: int = 16

    def __post_init__(self) -> None:
        if self.min_sessions < 2 or self.shown < 1:  # noqa: PLR2004 - a covariance needs two
            raise ValueError(f"min_sessions is at least 2 and shown 1, got {self.min_sessions}, {self.shown}")
        if self.sources < 0:
            raise ValueError(f"sources is at least 0, got {self.sources}")
        for name, value in (("margin_level", self.margin_level), ("discovery_rate", self.discovery_rate)):
            if not 0 < value < 1:
                raise ValueError(f"{name} lies between 0 and 1, got {value}")


class InputSimilarity(Detector):
    """`Marginals` for every feature, `SourceMarginals` and `MeanDiscrepancy` for all, one event a session.

    Null: fresh sessions are independent draws from what the reference's sessions were drawn from, at each source. Each
    window gives d p-values, one of all features together, and d for each of s sources; p -> e (`p_to_e`) ->
    R = e (v + R) with v votes (`WindowRuns`); the alarm is on the mean of the parts (mean over features, MMD, and with
    sources mean over these and features), an average of e-detectors under any dependence.

    False-positive rate: on average at least A = ``budget.alarm`` sessions between false alarms, given a reference whose
    error is within its margins (probability 1 - ``margin_level``; a third of it for each part). The features' p-values
    are non-asymptotic; MMD's takes means of m sessions as normal. What a margin hides is never found, however long it
    lasts: a reference of n sessions cannot tell smaller changes from its own error.
    ``drifted_share`` is per window: Benjamini-Hochberg at ``discovery_rate`` over the features, no alarm. ``sources``
    are those whose own bets stand highest, with the feature, where one source's evidence alone would do.

    >>> InputSimilarity(Parameters(), Budget(), np.random.default_rng(0)).name
    'input_similarity'
    """

    name: ClassVar[str] = "input_similarity"

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:
        self._parameters = parameters
        self._budget = budget
        self._seed = int(rng.integers(2**62))
        self._discrepancy: MeanDiscrepancy | None = None
        self._runs = WindowRuns(1)
        self._fired = False

    def fit(self, reference: Reference) -> None:
        """Sort the reference's columns, bound its error, draw the random features."""
        rows, p = first_of_sessions(reference.session), self._parameters
        x = reference.x[rows]
        self._names = reference.schema.names
        self._runs, self._fired, self._discrepancy = WindowRuns(len(self._names) + 1), False, None
        if len(x) < p.min_sessions:
            return
        rng, level = np.random.default_rng([self._seed, 0]), p.margin_level / 3
        self._marginals = Marginals(reference.schema, x, level, rng)
        self._discrepancy = MeanDiscrepancy(self._marginals, x, level, rng)
        self._sources = SourceMarginals(x, reference.source[rows], self._marginals.dispersion, level, p.sources)
        self._by_source = WindowRuns(len(self._sources.names) * len(self._names))

    def observe(self, window: Window, labels: Labels | None) -> Evidence:  # noqa: ARG002 - labels say nothing here
        """Compare the window's fresh sessions with the reference."""
        if self._discrepancy is None:
            return Evidence(self.name, "warming", note="the reference has too few sessions")
        rows = first_of_sessions(window.batch.session, window.fresh)
        x = window.batch.x[rows]
        p, effect = self._marginals.p_values(x)
        mmd, mmd_p = self._discrepancy.test(x)
        log_r = self._runs.update(np.log(p_to_e(np.append(p, mmd_p))), len(x))
        parts = [log_mean(log_r[:-1]), float(log_r[-1])]
        if self._sources.names:
            own_p, sessions = self._sources.p_values(x, window.batch.source[rows])
            votes = np.repeat(sessions, len(self._names))
            parts.append(log_mean(self._by_source.update(np.log(p_to_e(own_p)).ravel(), votes)))
        total = log_mean(parts)
        self._fired |= bool(total >= np.log(self._budget.alarm))
        drifted = benjamini_hochberg(p, self._parameters.discovery_rate)
        return Evidence(
            self.name,
            "fired" if self._fired else "ok",
            score=mmd,
            threshold=self._budget.alarm,
            e_value=as_e_value(total),
            top=self._top(p, effect),
            suspects=bool(total >= np.log(self._budget.ask)),
            gauges={"mmd": mmd, "mmd_p": mmd_p, "drifted_share": float(drifted.mean()), "sessions": float(len(x))},
            facts=self._facts(p, effect, drifted),
        )

    def state(self) -> State:
        """The runs, and whether they fired."""
        own = None if self._discrepancy is None else self._by_source.state()
        return {"runs": self._runs.state(), "by_source": own, "fired": self._fired}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._runs.restore(state["runs"])
        if self._discrepancy is not None:
            self._by_source.restore(state["by_source"])
        self._fired = bool(state["fired"])

    def _order(self, p: Floats, effect: Floats) -> list[int]:
        return [int(j) for j in np.lexsort((-effect, p))[: self._parameters.shown]]

    def _top(self, p: Floats, effect: Floats) -> tuple[Contributor, ...]:
        """The features with the smallest p, in -log10 p."""
        shown = -np.log10(np.maximum(p, 1e-300))
        return tuple(Contributor(self._names[j], float(shown[j])) for j in self._order(p, effect))

    def _facts(self, p: Floats, effect: Floats, drifted: Floats) -> dict[str, Any]:
        features = {self._names[j]: {"p": float(p[j]), "effect": float(effect[j])} for j in self._order(p, effect)}
        facts: dict[str, Any] = {"features": features, "drifted": [self._names[j] for j in np.flatnonzero(drifted)]}
        if loud := self._loud():
            facts["sources"] = loud
        return facts

    def _loud(self) -> dict[str, list[str]]:
        """Sources whose own mean over features crossed the budget, with the features that crossed it by themselves."""
        if not self._sources.names:
            return {}
        log_r = self._by_source.log_r.reshape(len(self._sources.names), -1)
        loud: dict[str, list[str]] = {}
        for name, own in zip(self._sources.names, log_r, strict=True):
            # a mean is at most the highest
            if own.max() >= np.log(self._budget.alarm) and log_mean(own) >= np.log(self._budget.alarm):
                highest = [int(j) for j in np.argsort(-own, kind="stable")[: self._parameters.shown]]
                loud[name] = [self._names[j] for j in highest if own[j] >= np.log(self._budget.alarm)]
        return loud
