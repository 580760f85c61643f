"""Bursts of events that were crafted to fool the serving and the last known good model alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from scipy.spatial.distance import cdist

from detectors.batch import Bools, Floats, Ints, Labels, Reference, Window
from detectors.bursts.burst_evidence import BurstCase, majority
from detectors.bursts.burst_inquiry import Odds, Suspects
from detectors.bursts.crafted_score import CraftedScore, looked_at
from detectors.bursts.parameters import BurstParameters
from detectors.bursts.source_scopes import SourceScopes
from detectors.evidence import Budget, Detector, Evidence, State
from detectors.sequential import session_maximum, session_mean, sessions_of

_FORGET: Final = 0.7  # weight of a window's events in the next one: whether traffic has moved is seen over about three
_WHY: Final = "it looks as if it were made to be called {called}: is it, as both versions say?"


@dataclass(frozen=True, slots=True)
class Parameters(BurstParameters):
    """What looks crafted, and how to ask: `BurstParameters`, of the crafted score.

    ``rows`` of the reference are what events are compared with, ``attacks`` are played against the models. Where the
    reference's highest tenth is wrong more often than ``wrong_honest``, that counts. What is taken for a rarer class is
    crafted only where it lies ``scattered``: the median distance of missed events to each other in units of that to the
    reference; and nothing is crafted while more than ``moved`` of all events lie farther from the reference than its
    median.
    """

    quantiles: tuple[float, ...] = (0.95, 0.99, 0.997)
    rows: int = 800
    attacks: int = 900
    scattered: float = 0.75
    moved: float = 0.66

    def __post_init__(self) -> None:
        BurstParameters.__post_init__(self)
        if min(self.rows, self.attacks) < 1 or min(self.scattered, self.moved) < 0:
            raise ValueError(
                f"rows and attacks must be at least 1, scattered and moved not negative, got "
                f"{(self.rows, self.attacks, self.scattered, self.moved)}"
            )


class EvasionBurst(Detector):
    """Sessions that look crafted (`CraftedScore`), beyond the reference's rate, and labels of the likeliest.

    A session votes at each threshold with its highest event and with the share of its events that reach it, of four
    events at most (`looked_at`); events on which the two models differ do not count (`version_disagreement` asks about
    these). Statistic: the weighted mean of the Shiryaev-Roberts bets of all sessions and of each source's
    (`SourceScopes`). Null: each vote's rate is at most its bound on the sessions of the reference that the score has
    not learned. False positives: an average run length of at least ``budget.ask`` (asking) or ``budget.alarm`` (firing)
    sessions while that holds; honest news can raise it.

    The score only chooses whom to ask: evasion is said by trusted labels alone (`BurstInquiry`): llr is that of evasion
    against honest traffic. A new kind of attack that both models miss gives the same answers as a crafted one, and
    needs the same response. Which class is benign need not be known: every class is attacked in self-play. What is
    called anything but the reference's majority must also lie scattered, as crafted events do: a new honest service
    that both models misjudge lies together, and is news. So are misses while all traffic drifts. Not told from evasion:
    an honest kind that both models take for the majority's class.

    >>> EvasionBurst(Parameters(), Budget(), np.random.default_rng(0)).name
    'evasion_burst'
    """

    name: ClassVar[str] = "evasion_burst"
    asks: ClassVar[bool] = True

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:
        self._parameters = parameters
        self._budget = budget
        self._seed = int(rng.integers(2**32))  # drawn once, so that a second fit learns the same score

    def fit(self, reference: Reference) -> None:
        """Keep the reference: the score is learned at the first window, which brings the models."""
        self._reference = reference
        self._score: CraftedScore | None = None
        self._seen = np.zeros(2)
        self._waiting: State | None = None
        self._note = ""
        self._sessions = sessions_of(reference.session)[1]

    def observe(self, window: Window, labels: Labels | None) -> Evidence:
        """Votes of the window's fresh sessions; once suspicious, questions and answers."""
        if not self._learned(window):
            return Evidence(self.name, "warming", threshold=self._budget.alarm, note=self._note)
        share = self._vote(window)
        gauges = {"crafted_rate": share, "null_rate": float(self._case.scopes.null[-1])}
        return self._case.judge(window.index, labels, share, _WHY, gauges)

    def _learned(self, window: Window) -> bool:
        """Learn the score where the models can be asked; says whether there is one."""
        if self._score is not None:
            return self._score.ready
        if self._sessions < self._parameters.fewest:
            self._note = f"the reference has {self._sessions} sessions; {self._parameters.fewest} are needed"
            return False
        if window.score_f is None:
            self._note = "the serving version's model file is needed, to try attacks on it"
            return False
        p, reference = self._parameters, self._reference
        models = (window.score_f,) if window.score_g is None else (window.score_f, window.score_g)
        self._score = score = CraftedScore(reference, models, p.rows, p.attacks, self._seed)
        if not score.ready:
            self._note = "no attack on the reference's events succeeded: there is nothing to learn from"
            return False
        self._calibrate(score)
        if self._waiting is not None:
            self._case.restore(self._waiting["case"])
            self._seen = np.array(self._waiting["seen"], np.float64)
            self._waiting = None
        return True

    def _calibrate(self, score: CraftedScore) -> None:
        """Thresholds and null rates from the sessions that the score has not learned."""
        p, held = self._parameters, score.held.take(np.flatnonzero(score.null_rows))
        agree, called = _agreement(held.f, held.g)
        values = np.where(agree, score.null, -np.inf)
        code, count = sessions_of(held.session)
        self._length = len(held) / count
        self._thresholds = np.quantile(session_maximum(values, code, count), p.quantiles)
        votes = _votes(values, code, count, self._thresholds)
        source = held.source[np.unique(code, return_index=True)[1]]
        scopes = SourceScopes(votes, source, p.sources, p.prior, p.level)
        odds = Odds(p.wrong_crafted, self._wrong_honest(values, called, held.y))
        self._majority = majority(held)
        self._case = BurstCase(self.name, held, scopes, odds, p, self._budget, self._plausible)

    def _plausible(self, called: int, missed: Floats) -> bool:
        """Not while all traffic has moved away from the reference: the models miss what they would have known.

        And events taken for a rare class that lie closer to one another than to the reference are an unknown service.
        """
        if self._score is None or self._seen[1] >= self._parameters.moved * self._seen[0]:
            return False
        if called == self._majority or len(missed) < 2:  # noqa: PLR2004 - one has no neighbour
            return True
        between = cdist(missed, missed)
        np.fill_diagonal(between, np.inf)
        return bool(np.median(between.min(axis=1) / (self._score.apart(missed) + 1e-6)) >= self._parameters.scattered)

    def _wrong_honest(self, values: Floats, called: Ints, y: Ints) -> Floats:
        """By called class: how often both models are wrong about the highest tenth of the reference's events."""
        p, out = self._parameters, []
        for c in range(len(self._reference.schema.classes)):
            rows = np.flatnonzero((called == c) & (y >= 0) & np.isfinite(values))
            top = rows[np.argsort(-values[rows], kind="stable")][: max(len(rows) // 10, 1)]
            wrong = float(np.mean(y[top] != c)) if len(top) else 0.0
            out.append(min(max(wrong, p.wrong_honest), p.wrong_crafted - 0.1))
        return np.array(out)

    def _vote(self, window: Window) -> float:
        """Let the fresh sessions vote and keep the highest; returns the share of sessions over the second threshold."""
        rows = np.flatnonzero(window.fresh)
        rows = rows[looked_at(window.batch.session[rows], window.batch.key[rows])]
        if not len(rows) or self._score is None:
            return 0.0
        batch = window.batch
        x, source, session = batch.x[rows], batch.source[rows], batch.session[rows]
        f = window.f[rows]
        g = f if window.g is None else window.g[rows]
        agree, called = _agreement(f, g)
        at = self._score.place(x)
        score, farther = self._score(x, at, f, g)
        self._seen = _FORGET * self._seen + np.array([len(rows), farther.sum()])
        values = np.where(agree, score, -np.inf)
        code, count = sessions_of(session)
        votes = _votes(values, code, count, self._thresholds)
        half = len(self._thresholds)
        longer = np.maximum(np.bincount(code, minlength=count) / self._length, 1.0)[:, None]
        scale = np.concatenate([np.repeat(longer, half, axis=1), np.ones((count, half))], axis=1)
        self._case.scopes.update(votes, source[np.unique(code, return_index=True)[1]], scale)
        high = np.flatnonzero((values >= self._thresholds[0]) & ~batch.repeated[rows])
        new = Suspects(
            batch.id[rows[high]],
            source[high],
            session[high],
            values[high],
            called[high],
            np.full(len(high), window.index),
            at[high],
        )
        self._case.inquiry.collect(new, window.index)
        return float(votes[:, min(1, half - 1)].mean())

    def state(self) -> State:
        """Bets, suspects, questions and answers; the score is learned again from the same seed."""
        if self._score is None or not self._score.ready:
            return {"waiting": self._waiting} if self._waiting is not None else {}
        return {"waiting": {"case": self._case.state(), "seen": self._seen.copy()}}

    def restore(self, state: State) -> None:
        """Take back what `state` gave, as soon as the score is learned again."""
        self._score = None
        self._waiting = state.get("waiting")


def _agreement(f: Floats, g: Floats) -> tuple[Bools, Ints]:
    """Whether both models call the same class, and which one f calls."""
    called = np.argmax(f, axis=1)
    alone = np.isnan(g).any(axis=1)
    return alone | (called == np.argmax(np.nan_to_num(g), axis=1)), called


def _votes(values: Floats, code: Ints, count: int, thresholds: Floats) -> Floats:
    """The two votes of each session at each threshold, [sessions, 2 m]: any event over, and the share of them."""
    over = (values[:, None] >= thresholds).astype(np.float64)
    return np.concatenate([session_maximum(over, code, count), session_mean(over, code, count)], axis=1)
