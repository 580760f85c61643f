"""Serving model f against last known good (LKG) g on the labels of the reference: what f has unlearned, by class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np

from detectors.asking.deep_events import DeepEvents
from detectors.asking.inquiry import Inquiry
from detectors.batch import Floats, Ints, Labels, Reference, Window
from detectors.evidence import Ask, Budget, Contributor, Detector, Evidence, Implicated, State
from detectors.nulls.itemsets import Mining
from detectors.nulls.margins import disagreement
from detectors.sequential import session_mean, sessions_of

_FEWEST: Final = 200  # labelled sessions; with fewer no harm of half a percent shows


@dataclass(frozen=True, slots=True)
class Parameters:
    """A class is harmed from ``gate`` standard errors and ``least`` net harm on; the rest is how to ask (`Inquiry`).

    ``pool`` of the stream's disputed events are kept.
    """

    gate: float = 5.0
    least: float = 0.005
    asked: int = 16
    batch: int = 8
    right_poisoned: float = 0.25
    right_honest: float = 0.7
    pool: int = 256
    swaps: int = 200
    mining: Mining = field(default_factory=Mining)

    def __post_init__(self) -> None:
        if self.gate <= 0 or not 0 < self.least < 1:
            raise ValueError(f"gate must be above 0 and least in (0, 1), got {self.gate} and {self.least}")
        if not 0 < self.right_poisoned < self.right_honest < 1:
            raise ValueError("need 0 < right_poisoned < right_honest < 1: harm makes the serving model wrong")
        if min(self.asked, self.batch, self.pool, self.swaps) < 1:
            raise ValueError("asked, batch, pool and swaps must be at least 1")


class ReferenceHarm(Detector):
    """What f has wrong and g right on the vetted reference, less the contrary, for each true class.

    z = sum_s d_s / (sum_s d_s^2)^(1/2), d_s the mean over the events of session s that are of the class of (f wrong -
    g wrong); net harm = sum_s d_s / sessions. This is McNemar's test by session (Q. McNemar, Psychometrika 12, 1947).
    It sees what depth cannot: damage that the reference knows as well (flips or edits that f has learned, a kind that
    it has forgotten) is part of the churn that `version_disagreement` allows for.

    Null: f and g come from one honest procedure, which makes z normal with mean 0, but wider than 1, for retrains
    differ by more than the draw of sessions: over honest retrains its standard deviation is about two. Hence ``gate``;
    no honest retrain has reached it in the benchmark (docs/detection.md), and the ``least`` harm keeps trifles out.
    It draws nothing from the false-alarm budget of votes: it is judged once a version, and only asks.

    The reference is older than the stream, so a rule that has moved looks the same. So it asks whether f is right on
    events of the stream where g says the harmed class and f another one, and answers decide (`Inquiry`).

    >>> ReferenceHarm(Parameters(), Budget(), np.random.default_rng(0)).name
    'reference_harm'
    """

    name: ClassVar[str] = "reference_harm"
    bets: ClassVar[bool] = False

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:  # noqa: ARG002 - detectors are made alike
        self._parameters = parameters

    def fit(self, reference: Reference) -> None:
        """Compare the two models on the reference's labels."""
        p, schema = self._parameters, reference.schema
        self._reference = reference
        known = reference.take(reference.y >= 0)
        self._sessions = sessions_of(known.session)[1] if len(known) else 0
        self._seen = self._sessions >= _FEWEST and not np.isnan(known.f).any() and not np.isnan(known.g).any()
        self._z, self._net = np.zeros(len(schema.classes)), np.zeros(len(schema.classes))
        if self._seen:
            self._z, self._net = harm(known)
        harmed = (self._z >= p.gate) & (self._net >= p.least)
        self._harmed = int(np.argmax(np.where(harmed, self._z, -np.inf))) if harmed.any() else None
        g_class = np.argmax(np.nan_to_num(reference.g), axis=1)
        self._inquiry = Inquiry(reference, g_class, p)

    def observe(self, window: Window, labels: Labels | None) -> Evidence:
        """Where a class is harmed: collect disputed events of that class, ask, and hear the answers."""
        if not self._seen:
            return Evidence(self.name, "warming", threshold=self._parameters.gate, note=self._missing())
        asks: tuple[Ask, ...] = ()
        if self._harmed is not None and window.g is not None:
            self._answer(labels)
            self._collect(window, window.g)
            asks = self._inquiry.ask()
        return self._evidence(asks)

    def _missing(self) -> str:
        if self._sessions < _FEWEST:
            return f"the reference has {self._sessions} labelled sessions: {_FEWEST} at least show harm"
        return "no last known good model to compare with: promote one, with its bundle, to see what a version unlearned"

    def _collect(self, window: Window, g: Floats) -> None:
        depth, f_class, g_class = disagreement(window.f, g)
        rows = np.flatnonzero((g_class == self._harmed) & (f_class != g_class))
        if not len(rows):
            return
        batch = window.batch
        new = DeepEvents(
            batch.id[rows],
            batch.source[rows],
            batch.session[rows],
            batch.x[rows],
            np.maximum(depth[rows], 1e-9),
            f_class[rows],
            g_class[rows],
            batch.repeated[rows],
        )
        self._inquiry.pool = self._inquiry.pool.merged(new, self._parameters.pool)
        calm = np.flatnonzero(depth == 0)[:256]
        self._inquiry.study(window, batch.x[calm], g_class[calm])

    def _answer(self, labels: Labels | None) -> None:
        if labels is None or not self._inquiry.open:
            return
        _, f_class, g_class = disagreement(labels.f, np.nan_to_num(labels.g))
        rows = (g_class == self._harmed) & (f_class != g_class) & ~np.isnan(labels.g).any(axis=1)
        self._inquiry.answers.take(labels, rows, f_class, g_class)

    def _evidence(self, asks: tuple[Ask, ...]) -> Evidence:
        worst = int(np.argmax(self._z))
        llr, answers, _ = self._inquiry.judged()
        raised = self._harmed is not None
        classes = self._reference.schema.classes
        return Evidence(
            self.name,
            "fired" if raised else "ok",
            score=float(self._z[worst]),
            threshold=self._parameters.gate,
            top=tuple(Contributor(f"class:{classes[c]}", float(self._net[c])) for c in np.argsort(-self._net)[:3]),
            suspects=raised,
            asks=asks,
            llr=llr if raised and answers else None,
            answers=answers,
            implicated=self._inquiry.implicated() if raised else Implicated(),
            gauges={"net_harm": float(self._net[worst])},
            facts=self._facts() if raised else {},
        )

    def _facts(self) -> dict[str, Any]:
        harmed = int(self._harmed or 0)
        return {
            **self._inquiry.facts(),
            "harmed_class": self._reference.schema.classes[harmed],
            "net_harm": float(self._net[harmed]),
            "standard_errors": float(self._z[harmed]),
        }

    def state(self) -> State:
        """Questions and answers."""
        return {"inquiry": self._inquiry.state()}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._inquiry.restore(state["inquiry"])


def harm(known: Reference) -> tuple[Floats, Floats]:
    """Standard errors [k] and net harm [k] of the labelled reference's classes; see `ReferenceHarm`."""
    worse = (np.argmax(known.f, axis=1) != known.y) * 1.0 - (np.argmax(known.g, axis=1) != known.y)
    code, count = sessions_of(known.session)
    return _by_class(worse, known.y, code, count, len(known.schema.classes))


def _by_class(worse: Floats, y: Ints, code: Ints, count: int, classes: int) -> tuple[Floats, Floats]:
    z, net = np.zeros(classes), np.zeros(classes)
    for c in range(classes):
        d = session_mean(np.where(y == c, worse, 0.0), code, count)
        spread = float(np.sqrt(np.sum(d**2)))
        z[c] = d.sum() / spread if spread > 0 else 0.0
        net[c] = d.mean()
    return z, net
