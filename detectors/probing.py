"""Probing: somebody walks to and fro over the models' boundary in small steps, to learn what gets past them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from detectors.batch import Bools, Floats, Ints, Labels, Reference, Window
from detectors.bursts.burst_evidence import BurstCase
from detectors.bursts.burst_inquiry import Odds, Suspects
from detectors.bursts.parameters import BurstParameters
from detectors.bursts.small_steps import SmallSteps
from detectors.bursts.source_scopes import SourceScopes
from detectors.evidence import Budget, Detector, Evidence, State
from detectors.sequential import session_maximum, sessions_of

_WHY: Final = "it is a small step from events that are called otherwise; this one is called {called}: is it?"
_MANY: Final = 3  # links of an event in the midst of a walk


@dataclass(frozen=True, slots=True)
class Parameters(BurstParameters):
    """What a small step is, and how to ask: `BurstParameters`, of the steepness of steps.

    Events are linked where at most ``features`` inputs differ.
    """

    quantiles: tuple[float, ...] = (0.99, 0.997)
    features: int = 2

    def __post_init__(self) -> None:
        BurstParameters.__post_init__(self)
        if self.features < 1:
            raise ValueError(f"features must be at least 1, got {self.features}")


class Probing(Detector):
    """Sessions with events a small step from others that the model scores otherwise, beyond the reference's rate.

    A session votes four times: one of its events has a link, or three (`SmallSteps`), or is steeper than each of two
    thresholds. Statistic: as in `evasion_burst`, over all sessions and by source. Null: each vote's rate is at most its
    bound on the reference, in blocks of as many sessions; it grows in proportion for longer sessions. False positives:
    an average run length of at least ``budget.ask`` (asking) or ``budget.alarm`` (firing) sessions while that holds. It
    does not where the reference is a thinned sample of a stream that repeats itself: honest repeats are acquitted by
    labels, and their rate becomes the null.

    Labels are asked for on both sides of the boundary; probing is said where those on one side are wrong
    (`BurstInquiry`): llr is that of probing against honest traffic. Needs no LKG; with one, only events that both
    models call alike are asked about.
    Sources: Chen, Carlini & Wagner 2019 (stateful detection of black-box attacks, arXiv 1907.05587); Shin, Ramdas &
    Rinaldo 2022 (e-detectors).

    >>> Probing(Parameters(), Budget(), np.random.default_rng(0)).name
    'probing'
    """

    name: ClassVar[str] = "probing"
    asks: ClassVar[bool] = True

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:
        self._parameters = parameters
        self._budget = budget
        self._seed = int(rng.integers(2**32))  # drawn once, so that a second fit is the same

    def fit(self, reference: Reference) -> None:
        """Learn how often the reference's sessions lie a small step apart."""
        p = self._parameters
        code, count = sessions_of(reference.session)
        self._ready = count >= p.fewest and not np.isnan(reference.f).any()
        if not self._ready:
            return
        self._reference = reference
        self._length = len(reference) / count
        self._steps = SmallSteps(reference, p.features, np.random.default_rng(self._seed))
        links, steep = self._steps.of(reference.x, reference.f, self._steps.place(reference.x), code)
        self._thresholds = np.maximum(np.quantile(session_maximum(steep, code, count), p.quantiles), 1e-6)
        votes = self._votes(links, steep, code, count)
        source = reference.source[np.unique(code, return_index=True)[1]]
        scopes = SourceScopes(votes, source, p.sources, p.prior, p.level)
        odds = Odds(p.wrong_crafted, np.full(len(reference.schema.classes), p.wrong_honest))
        self._case = BurstCase(self.name, reference, scopes, odds, p, self._budget, _always)

    def _votes(self, links: Ints, steep: Floats, code: Ints, count: int) -> Floats:
        """Votes [sessions, 4]."""
        over = [links >= 1, links >= _MANY, *(steep >= t for t in self._thresholds)]
        return session_maximum(np.column_stack(over).astype(np.float64), code, count)

    def observe(self, window: Window, labels: Labels | None) -> Evidence:
        """Votes of the window's fresh sessions; once suspicious, questions and answers."""
        if not self._ready:
            note = f"the reference needs scores of the watched version and {self._parameters.fewest} sessions"
            return Evidence(self.name, "warming", threshold=self._budget.alarm, note=note)
        share = self._vote(window)
        return self._case.judge(window.index, labels, share, _WHY, {"linked_rate": share})

    def _vote(self, window: Window) -> float:
        rows = np.flatnonzero(window.fresh)
        if not len(rows):
            return 0.0
        batch = window.batch
        x, source, session = batch.x[rows], batch.source[rows], batch.session[rows]
        f, at = window.f[rows], self._steps.place(x)
        code, count = sessions_of(session)
        links, steep = self._steps.of(x, f, at, code)
        votes = self._votes(links, steep, code, count)
        longer = np.maximum(np.bincount(code, minlength=count) / self._length, 1.0)[:, None]
        first = np.unique(code, return_index=True)[1]
        self._case.scopes.update(votes, source[first], np.repeat(longer, votes.shape[1], axis=1))
        called = np.argmax(f, axis=1)
        agree: Bools = np.ones(len(rows), np.bool_)
        if window.g is not None:
            agree = called == np.argmax(window.g[rows], axis=1)
        high = np.flatnonzero(((links >= 1) | (steep >= self._thresholds[0])) & agree & ~batch.repeated[rows])
        score = links[high] + steep[high] / (steep[high] + self._thresholds[0])
        ident, index = batch.id[rows[high]], np.full(len(high), window.index)
        new = Suspects(ident, source[high], session[high], score, called[high], index, at[high])
        self._case.inquiry.collect(new, window.index)
        return float(votes[:, 0].mean())

    def state(self) -> State:
        """Bets, suspects, questions and answers."""
        return self._case.state() if self._ready else {}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        if self._ready and state:
            self._case.restore(state)


def _always(called: int, missed: Floats) -> bool:  # noqa: ARG001 - no honest news walks along a boundary
    return True
