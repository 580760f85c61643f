"""Serving model f against last known good (LKG) g on the same events: where they part deeply, and who is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np

from detectors.asking.deep_events import DeepEvents
from detectors.asking.inquiry import Inquiry
from detectors.batch import Bools, Floats, Ints, Labels, Reference, Window
from detectors.evidence import Ask, Budget, Detector, Evidence, Implicated, State
from detectors.nulls.itemsets import Mining
from detectors.nulls.margins import certainty, deeper, disagreement
from detectors.nulls.settled import COVERED, KNOWN, NEW, Settled
from detectors.sequential import (
    RateMonitor,
    as_e_value,
    cautious_bounds,
    log_mean,
    session_maximum,
    session_mean,
    sessions_of,
)

_BLIND: Final = 0.5  # null rates from which on no plausible rate of deep sessions would be seen


@dataclass(frozen=True, slots=True)
class Parameters:
    """How deep is deep, and how to ask.

    ``quantiles`` of the depth on the reference are the thresholds, at least ``floor`` times the median margin of g;
    ``level`` is the confidence of the null rates. Of the true labels of deep events, ``asked`` are asked for at most,
    ``batch`` in a window; a new question may ask for as many again. f is right with probability ``right_poisoned``
    under poisoning, ``right_honest`` under honest change. ``pool`` deep and ``recent`` undisputed events are kept.
    ``swaps`` rows take the universality test.
    """

    quantiles: tuple[float, ...] = (0.99, 0.997, 0.9995)
    floor: float = 0.1
    level: float = 0.95
    asked: int = 16
    batch: int = 8
    right_poisoned: float = 0.25
    right_honest: float = 0.7
    pool: int = 256
    recent: int = 256
    swaps: int = 200
    mining: Mining = field(default_factory=Mining)

    def __post_init__(self) -> None:
        if not self.quantiles or not all(0 < q < 1 for q in self.quantiles) or not 0 < self.level < 1:
            raise ValueError(f"quantiles and level lie in (0, 1), got {self.quantiles} and {self.level}")
        if not 0 < self.right_poisoned < self.right_honest < 1:
            raise ValueError("need 0 < right_poisoned < right_honest < 1: poison makes the serving model wrong")
        if self.floor < 0 or min(self.asked, self.batch, self.pool, self.recent, self.swaps) < 1:
            raise ValueError("floor must not be negative; asked, batch, pool, recent and swaps must be at least 1")


class VersionDisagreement(Detector):
    """Deep disagreement of f with LKG beyond the retrain's own churn, and labels of the deepest events.

    Depth of an event: `margins.disagreement`. A session votes twice at each threshold tau: with its deepest event,
    1[max depth >= tau], and with the share of its events with depth >= tau (the first finds sessions with one triggered
    event, the second does not suffer from long sessions). Statistic: the mean of the Shiryaev-Roberts bets on these
    votes (`sequential.RateMonitor`). Null: the rate of each vote is at most its Clopper-Pearson bound on the reference,
    which is what *this* retrain changed honestly; the bound of the first vote grows in proportion for sessions longer
    than the reference's mean. False positives: an average run length of at least ``budget.alarm`` sessions while that
    null holds (each bound holds with probability ``level`` over the draw of the reference, which must be no training
    data of f; small stakes bet against a bound with a hundredth of that error, see `RateMonitor`). Honest news since
    the reference also raises it: depth says that something was *learned*, labels what.

    After ``budget.ask`` is crossed it asks for labels of the deepest sessions, carriers of the mined itemset first;
    trusted labels of deep events count from then on (`Inquiry`): f right .7 if honest, .25 if poisoned. They are
    picked, and so enter no bet, whose null speaks of all sessions; the two hypotheses speak of deep events, however
    picked. Where the itemset is confident, its carriers' answers decide, once there are four. The swap test (itemset
    pasted into reference rows, share flipped by f minus by g) is a gauge: an honestly learned family passes it too.

    An acquittal is not for ever: what was approved is `Settled`, the bets begin anew on what lies beyond it, and cross
    both budgets again before a new question is asked or an alarm reopened. ``fired`` stays, with the last acquittal's
    likelihood ratio, until a new question crosses ``budget.alarm`` or is answered against f.
    Sources: Waudby-Smith & Ramdas 2024 (betting); Shin, Ramdas & Rinaldo 2022 (e-detectors).

    >>> VersionDisagreement(Parameters(), Budget(), np.random.default_rng(0)).name
    'version_disagreement'
    """

    name: ClassVar[str] = "version_disagreement"
    asks: ClassVar[bool] = True

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:  # noqa: ARG002 - every detector is made alike; this one draws nothing
        self._parameters = parameters
        self._budget = budget

    def fit(self, reference: Reference) -> None:
        """Learn the churn between f and g on the reference, by session."""
        self._reference = reference
        both = bool(len(reference)) and not np.isnan(reference.f).any()
        self._has_lkg = both and not np.isnan(reference.g).any()
        if not self._has_lkg:
            return
        p = self._parameters
        depth, _, self._g_class = disagreement(reference.f, reference.g)
        code, count = sessions_of(reference.session)
        floor = p.floor * float(np.median(certainty(reference.g)))
        self._thresholds = np.maximum(np.quantile(session_maximum(depth, code, count), p.quantiles), floor)
        votes = _votes(deeper(depth, self._thresholds).astype(np.float64), code, count)
        null = cautious_bounds(votes.sum(axis=0), count, p.level)
        self._length = len(reference) / count
        self._settled = Settled(null, p.level)
        self._recent = np.zeros((0, reference.x.shape[1]))
        self._recent_class = np.zeros(0, np.int64)
        self._fired = False
        self._acquitted: Inquiry | None = None
        self._begin()

    def _begin(self) -> None:
        """A new question: bets, pool and answers start from nothing."""
        self._monitor = RateMonitor(self._settled.null)
        self._inquiry = Inquiry(self._reference, self._g_class, self._parameters)
        self._alarmed = self._suspects = False

    def observe(self, window: Window, labels: Labels | None) -> Evidence:
        """Votes of the window's fresh sessions; once suspicious, the itemset, the questions and the answers."""
        if window.g is None or not self._has_lkg:
            note = (
                "no last known good model to compare with: promote one, with its bundle, to see what a version changed"
            )
            return Evidence(self.name, "warming", threshold=self._budget.alarm, note=note)
        depth, f_class, g_class = disagreement(window.f, window.g)
        deep = deeper(depth, self._thresholds)
        ground = self._settled.ground(window.batch.x, f_class, g_class)
        share = self._vote(window, deep, ground)
        log_e = log_mean(self._monitor.log_r)
        changed = self._collect(window, depth, deep[:, 0] & (ground != COVERED), f_class, g_class)
        self._alarmed = self._alarmed or bool(log_e >= np.log(self._budget.alarm))
        self._fired = self._fired or self._alarmed
        newly = not self._suspects
        self._suspects = self._suspects or self._alarmed or bool(log_e >= np.log(self._budget.ask))
        asks: tuple[Ask, ...] = ()
        if self._suspects:
            self._answer(labels)
            if changed or newly:
                self._inquiry.study(window, self._recent, self._recent_class)
            self._tally(window, deep, f_class, g_class)
            asks = self._inquiry.ask()
        parted = float(np.mean(depth > 0)) if len(depth) else 0.0
        evidence = self._evidence(share, log_e, asks, parted)
        if self._suspects and self._inquiry.acquitted:
            self._settle()
        return evidence

    def _vote(self, window: Window, deep: Bools, ground: Ints) -> Floats:
        """Let the fresh sessions vote; returns the share of them that is deep at each threshold."""
        fresh = np.flatnonzero(window.fresh)
        if not len(fresh):
            return np.zeros(len(self._thresholds))
        code, count = sessions_of(window.batch.session[fresh])
        grounds = (NEW, KNOWN) if len(self._settled) else (NEW,)
        votes = [
            _votes((deep[fresh] & (ground[fresh] == each)[:, None]).astype(np.float64), code, count) for each in grounds
        ]
        longer = np.maximum(np.bincount(code, minlength=count) / self._length, 1.0)[:, None]
        same = np.ones((count, len(self._thresholds)))
        scale = np.concatenate([same * longer, same] * len(grounds), axis=1)
        self._monitor.update(np.concatenate(votes, axis=1), scale)
        return np.asarray(session_maximum(deep[fresh].astype(np.float64), code, count).mean(axis=0), np.float64)

    def _collect(self, window: Window, depth: Floats, deep: Bools, f_class: Ints, g_class: Ints) -> bool:
        """Keep the window's deep events and some undisputed ones; says whether there were deep ones."""
        batch, p = window.batch, self._parameters
        calm = np.flatnonzero(window.fresh & (depth == 0))
        picked = calm[np.linspace(0, len(calm) - 1, min(len(calm), p.recent)).astype(np.int64)]
        if len(picked):
            self._recent, self._recent_class = batch.x[picked], g_class[picked]
        rows = np.flatnonzero(deep)
        if not len(rows):
            return False
        new = DeepEvents(
            batch.id[rows],
            batch.source[rows],
            batch.session[rows],
            batch.x[rows],
            depth[rows],
            f_class[rows],
            g_class[rows],
            batch.repeated[rows],
        )
        self._inquiry.pool = self._inquiry.pool.merged(new, p.pool)
        return True

    def _answer(self, labels: Labels | None) -> None:
        """Enter trusted labels of deep events that are not settled, as long as the question is open."""
        if labels is None or not np.any(labels.trusted) or not self._inquiry.open:
            return
        depth, f_class, g_class = disagreement(labels.f, labels.g)
        rows = deeper(depth, self._thresholds)[:, 0] & ~np.isnan(labels.g).any(axis=1)
        rows &= self._settled.ground(labels.x, f_class, g_class) != COVERED
        self._inquiry.answers.take(labels, rows, f_class, g_class)

    def _tally(self, window: Window, deep: Bools, f_class: Ints, g_class: Ints) -> None:
        """Count what would vote on known ground, were the question settled as honest."""
        direction, fresh = self._inquiry.direction, np.flatnonzero(window.fresh)
        if direction is None or not len(fresh):
            return
        x, f, g = window.batch.x[fresh], f_class[fresh], g_class[fresh]
        ground = self._settled.ground(x, f, g)
        known = (ground == KNOWN) | ((ground == NEW) & (g == direction[0]) & (f == direction[1]))
        if (itemset := self._inquiry.itemset) is not None:
            known &= ~itemset.carries(x)
        code, count = sessions_of(window.batch.session[fresh])
        self._settled.count(_votes((deep[fresh] & known[:, None]).astype(np.float64), code, count))

    def _settle(self) -> None:
        direction = self._inquiry.direction
        if direction is not None:
            self._settled.approve(direction, self._inquiry.itemset)
            self._acquitted = self._inquiry
            self._begin()

    def _shown(self) -> Inquiry:
        """The question that evidence speaks of: the last acquitted one, until a new one weighs as much."""
        new = self._inquiry
        if self._acquitted is None or self._alarmed or (self._suspects and not (new.open or new.acquitted)):
            return new
        return self._acquitted

    def _evidence(self, share: Floats, log_e: float, asks: tuple[Ask, ...], disagreement_rate: float) -> Evidence:
        shown, raised = self._shown(), self._suspects or self._acquitted is not None
        llr, answers, _ = shown.judged()
        gauges = {
            "disagreement_rate": disagreement_rate,
            "deep_rate": float(share[0]),
            "null_rate": float(self._settled.null[0, 0]),
            "deepest_rate": float(share[-1]),
            "acquittals": float(len(self._settled)),
        }
        blind = float(self._settled.null[0].min()) >= _BLIND
        return Evidence(
            self.name,
            "fired" if self._fired else "warming" if blind else "ok",
            score=float(share[0]),
            threshold=self._budget.alarm,
            e_value=as_e_value(log_e),
            top=shown.top() if raised else (),
            suspects=raised,
            asks=asks,
            llr=llr if raised and answers else None,
            answers=answers,
            implicated=shown.implicated() if raised else Implicated(),
            gauges=gauges | shown.gauges,
            facts=self._facts(shown) if raised else {},
            note="the reference has too few sessions to bound this version's churn" if blind else "",
        )

    def _facts(self, shown: Inquiry) -> dict[str, Any]:
        """``reopened``: a question beyond the last acquittal is open, and not all that it asked for is answered."""
        asked, answered = int(self._inquiry.facts()["asked"]), self._inquiry.judged()[1]
        again = self._suspects and self._acquitted is not None and self._inquiry.open and answered < asked
        return {**shown.facts(), "reopened": again, "acquittals": len(self._settled)}

    def state(self) -> State:
        """Bets, questions, and what is settled."""
        if not self._has_lkg:
            return {}
        return {
            "settled": self._settled.state(),
            "monitor": self._monitor.state(),
            "inquiry": self._inquiry.state(),
            "acquitted": self._acquitted.state() if self._acquitted is not None else None,
            "recent": self._recent.copy(),
            "recent_class": self._recent_class.copy(),
            "fired": self._fired,
            "alarmed": self._alarmed,
            "suspects": self._suspects,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        if not self._has_lkg:
            return
        self._settled.restore(state["settled"])
        self._begin()
        self._monitor.restore(state["monitor"])
        self._inquiry.restore(state["inquiry"])
        self._acquitted = None
        if state["acquitted"] is not None:
            self._acquitted = Inquiry(self._reference, self._g_class, self._parameters)
            self._acquitted.restore(state["acquitted"])
        self._recent = np.array(state["recent"], np.float64)
        self._recent_class = np.array(state["recent_class"], np.int64)
        self._fired, self._alarmed, self._suspects = (bool(state[name]) for name in ("fired", "alarmed", "suspects"))


def _votes(over: Floats, code: Ints, count: int) -> Floats:
    """The two votes of each session at each threshold, [sessions, 2 m]: any event over[n, m], and the share of them."""
    return np.concatenate([session_maximum(over, code, count), session_mean(over, code, count)], axis=1)
