"""The seam between detectors and verdict: `Detector` observes windows, `Evidence` says what it saw."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from detectors.batch import Labels, Reference, Window

Status = Literal["ok", "fired", "error", "warming"]
State: TypeAlias = dict[str, Any]
"""What a detector has learned since `Detector.fit`: JSON scalars, lists, dicts with string keys and numpy arrays."""


@dataclass(frozen=True, slots=True)
class Contributor:
    """A feature, slice, source or origin and how much it added to the score (in the detector's own unit)."""

    name: str
    contribution: float


@dataclass(frozen=True, slots=True)
class Ask:
    """An event whose true label would separate the hypotheses, and why, in words for an analyst.

    ``of_buffer``: it is no event of the stream but a row of the retraining buffer; its answer comes by
    `Detector.vetted`, within a budget of its own.
    """

    id: str
    why: str
    of_buffer: bool = False


@dataclass(frozen=True, slots=True)
class Implicated:
    """What a finding points at. ``features`` maps a name to its value (or a range as text)."""

    features: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one detector says about one window. There is exactly one per detector and window.

    ``score`` is the statistic of this window, ``threshold`` what it (or ``e_value``) is held against, ``e_value`` the
    evidence accumulated so far against the detector's null (1 = none; None for a detector that has no e-value).
    ``fired`` means that ``e_value`` crossed the alarm budget; it latches until the detector is fitted again, or has
    shown by a test of its own that what it fired on is over (then ``facts`` say so: ``recovered``).
    ``suspects`` means that the looser budget for asking was crossed. ``llr`` is the log likelihood ratio of poisoning
    against honest change from ``answers`` vetted labels on this detector's own question. ``gauges`` are further
    named figures for dashboards and `windows.ndjson`; ``facts`` are findings that the verdict table reads.
    """

    detector: str
    status: Status
    score: float = 0.0
    threshold: float = 0.0
    e_value: float | None = None
    top: tuple[Contributor, ...] = ()
    suspects: bool = False
    asks: tuple[Ask, ...] = ()
    llr: float | None = None
    answers: int = 0
    implicated: Implicated = field(default_factory=Implicated)
    gauges: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Budget:
    """How large a detector's e-value must grow: one false alarm in ``alarm``, one false request in ``ask`` votes.

    A model's budget is divided over the detectors that draw on it by multiplying both with their number: with equal
    weights w_k = 1/K, a detector crossing K * A implies sum(w_k R_k) >= A, so the average run length is at least A
    votes under any dependence between detectors (Shin, Ramdas & Rinaldo 2022, arXiv 2203.03532).

    >>> Budget.split(alarm=1e6, ask=1e4, betting=7, asking=2)
    Budget(alarm=7000000.0, ask=20000.0)
    """

    alarm: float = 7e6
    ask: float = 7e4

    @staticmethod
    def split(alarm: float, ask: float, betting: int, asking: int) -> Budget:
        """A detector's share where ``betting`` detectors may raise false alarms and ``asking`` false requests."""
        return Budget(alarm * betting, ask * asking)


class Detector(ABC):
    """Watches one aspect of one model version. The file name of a detector is its configuration name.

    A subclass has a frozen dataclass ``Parameters`` beside it, with defaults and its own validation, and is made with
    ``Detector(parameters, budget, rng)``; ``rng`` is the only source of randomness. A detector touches no clock,
    file or network. It may raise: the caller turns the exception into an ``error`` evidence.
    """

    name: ClassVar[str]
    voters: ClassVar[Literal["sessions", "labels"]] = "sessions"
    """What it learns from: sessions that have not voted yet, or labels. Where there are none it sees nothing."""
    bets: ClassVar[bool] = True
    """Whether it bets on votes, and so draws on the budget of false alarms; else it is judged once, at `fit`."""
    asks: ClassVar[bool] = False
    """Whether bets of its own lead to requests for labels, and so draw on the budget of false requests."""

    @abstractmethod
    def fit(self, reference: Reference) -> None:
        """Learn the null from the trusted reference and forget what was observed.

        Called at the start, and again when the serving version, LKG or the reference changes.
        """

    @abstractmethod
    def observe(self, window: Window, labels: Labels | None) -> Evidence:
        """Judge one window and the labels that were joined since the last one. Never moves the reference."""

    def vetted(self, rows: Mapping[str, int]) -> None:  # noqa: B027 - most detectors ask about no row
        """Take trusted labels (class indices, -1: none of the classes) of rows of the retraining buffer, by row id.

        Called before `observe`. Only detectors that ask about such rows (`Ask.of_buffer`) have a use for them.
        """

    @abstractmethod
    def state(self) -> State:
        """All that `observe` and `vetted` have changed since `fit`, for the checkpoint."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Take back what `state` gave, after a `fit` on the same reference."""


def detector_classes() -> dict[str, tuple[type[Detector], type[Any]]]:
    """Every detector in this package: configuration name -> (class, its ``Parameters``), sorted by name."""
    import detectors  # noqa: PLC0415 - the package that holds this module

    found: dict[str, tuple[type[Detector], type[Any]]] = {}
    for info in sorted(pkgutil.iter_modules(detectors.__path__), key=lambda m: m.name):
        if info.ispkg:  # a room: what detectors are made of
            continue
        module = importlib.import_module(f"detectors.{info.name}")
        for _, item in inspect.getmembers(module, inspect.isclass):
            if issubclass(item, Detector) and item is not Detector and item.__module__ == module.__name__:
                found[info.name] = (item, module.Parameters)
    return found


def shared_budget(alarm: float, ask: float) -> Budget:
    """The share that each of the detectors in this package has in a model's budgets, given in votes."""
    kinds = [cls for cls, _ in detector_classes().values()]
    return Budget.split(alarm, ask, sum(k.bets for k in kinds), sum(k.asks for k in kinds))


def make_detectors(alarm: float, ask: float, seed: int, parameters: Mapping[str, Any]) -> list[Detector]:
    """All detectors; those in ``parameters`` with theirs, the others with their defaults.

    ``alarm`` and ``ask`` are the model's budgets in votes. Each detector has random numbers of its own, fixed by
    ``seed`` and its name.
    """
    budget = shared_budget(alarm, ask)
    made = []
    for name, (cls, defaults) in detector_classes().items():
        rng = np.random.default_rng([seed, *name.encode()])
        # the ABC states this constructor in words
        made.append(cls(parameters.get(name) or defaults(), budget, rng))  # type: ignore[call-arg]
    return made
