"""Serving model f against last known good (LKG) g on the same events: where they part deeply, and who is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from detectors.answers import Answers
from detectors.batch import Bools, Floats, Labels, Reference, Window
from detectors.deep_events import DeepEvents
from detectors.evidence import Ask, Budget, Contributor, Detector, Evidence, Implicated, State
from detectors.itemsets import Itemset, Mining, mine
from detectors.margins import certainty, disagreement
from detectors.sequential import (
    RateMonitor,
    as_e_value,
    log_mean,
    session_maximum,
    session_mean,
    sessions_of,
    upper_bound,
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """How deep is deep, and how to ask.

    ``quantiles`` of the depth on the reference are the thresholds, at least ``floor`` times the median margin of g;
    ``level`` is the confidence of the null rates. Of the true labels of deep events, ``asked`` are asked for at most,
    ``batch`` in a window. f is right with probability ``right_poisoned`` under poisoning, ``right_honest`` under
    honest change. ``pool`` deep and ``recent`` undisputed events are kept. ``swaps`` rows take the universality test.
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
    1[max depth > tau], and with the share of its events with depth > tau (the first finds sessions with one triggered
    event, the second does not suffer from long sessions). Statistic: the mean of the Shiryaev-Roberts bets on these
    votes (`sequential.RateMonitor`). Null: the rate of each vote is at most its Clopper-Pearson bound on the reference,
    which is what *this* retrain changed honestly; the bound of the first vote grows in proportion for sessions longer
    than the reference's mean. False positives: an average run length of at least ``budget.alarm`` sessions while that
    null holds (each bound holds with probability ``level`` over the draw of the reference, which must be no training
    data of f). Honest news since the reference also raises it: depth says that something was *learned*, labels what.

    After ``budget.ask`` is crossed it asks for labels of the deepest sessions, carriers of the mined itemset first;
    trusted labels of deep events count from then on (`Answers`): f right .7 if honest, .25 if poisoned. Where the
    itemset is confident, its carriers' answers decide, once there are four. The swap test (itemset pasted into
    reference rows, share flipped by f minus by g) is a gauge: an honestly learned family passes it too.
    Sources: Waudby-Smith & Ramdas 2024 (betting); Shin, Ramdas & Rinaldo 2022 (e-detectors).

    >>> VersionDisagreement(Parameters(), Budget(), np.random.default_rng(0)).name
    'version_disagreement'
    """

    name: ClassVar[str] = "version_disagreement"

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:  # noqa: ARG002 - every detector is made alike; this one draws nothing
        self._parameters = parameters
        self._budget = budget

    def fit(self, reference: Reference) -> None:
        """Learn the churn between f and g on the reference, by session."""
        self._reference = reference
        self._has_lkg = bool(len(reference)) and not np.isnan(reference.g).any()
        self._forget()
        if not self._has_lkg:
            return
        p = self._parameters
        depth, _, self._g_class = disagreement(reference.f, reference.g)
        code, count = sessions_of(reference.session)
        deepest = session_maximum(depth, code, count)
        floor = p.floor * float(np.median(certainty(reference.g)))
        self._thresholds = np.maximum(np.quantile(deepest, p.quantiles), floor)
        over = (depth[:, None] > self._thresholds).astype(np.float64)
        hits = np.concatenate([session_maximum(over, code, count), session_mean(over, code, count)], axis=1).sum(axis=0)
        self._null = upper_bound(hits, count, p.level)
        self._length = len(reference) / count
        self._monitor = RateMonitor(self._null)

    def _forget(self) -> None:
        features = self._reference.x.shape[1]
        p = self._parameters
        self._pool = DeepEvents.none(features)
        self._recent = np.zeros((0, features))
        self._recent_class = np.zeros(0, np.int64)
        self._itemset: Itemset | None = None
        self._swap_gap: float | None = None
        self._asked: list[str] = []
        self._fired = self._suspects = False
        self._answers = Answers(p.right_poisoned, p.right_honest, features)

    def observe(self, window: Window, labels: Labels | None) -> Evidence:
        """Votes of the window's fresh sessions; once suspicious, the itemset, the questions and the answers."""
        if window.g is None or not self._has_lkg:
            note = (
                "no last known good model to compare with: promote one, with its bundle, to see what a version changed"
            )
            return Evidence(self.name, "warming", threshold=self._budget.alarm, note=note)
        depth, f_class, g_class = disagreement(window.f, window.g)
        share = self._vote(window, depth)
        log_e = log_mean(self._monitor.log_r)
        changed = self._collect(window, depth, f_class, g_class)
        self._fired = self._fired or bool(log_e >= np.log(self._budget.alarm))
        newly = not self._suspects
        self._suspects = self._suspects or self._fired or bool(log_e >= np.log(self._budget.ask))
        asks: tuple[Ask, ...] = ()
        if self._suspects:
            self._answers.take(labels, self._thresholds[0])
            if changed or newly:
                self._mine(window)
            asks = self._ask()
        parted = float(np.mean(depth > 0)) if len(depth) else 0.0
        return self._evidence(share, log_e, asks, parted)

    def _vote(self, window: Window, depth: Floats) -> Floats:
        """Let the fresh sessions vote; returns the share of them that is deep at each threshold."""
        fresh = np.flatnonzero(window.fresh)
        if not len(fresh):
            return np.zeros(len(self._thresholds))
        code, count = sessions_of(window.batch.session[fresh])
        over = (depth[fresh, None] > self._thresholds).astype(np.float64)
        deepest = session_maximum(over, code, count)
        longer = np.maximum(np.bincount(code, minlength=count) / self._length, 1.0)[:, None]
        same = np.ones_like(deepest)
        votes = np.concatenate([deepest, session_mean(over, code, count)], axis=1)
        self._monitor.update(votes, np.concatenate([same * longer, same], axis=1))
        return np.asarray(deepest.mean(axis=0), np.float64)

    def _collect(self, window: Window, depth: Floats, f_class: Any, g_class: Any) -> bool:
        """Keep the window's deep events and some undisputed ones; says whether there were deep ones."""
        batch, p = window.batch, self._parameters
        calm = np.flatnonzero(window.fresh & (depth == 0))
        picked = calm[np.linspace(0, len(calm) - 1, min(len(calm), p.recent)).astype(np.int64)]
        if len(picked):
            self._recent, self._recent_class = batch.x[picked], g_class[picked]
        rows = np.flatnonzero(depth > self._thresholds[0])
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
        )
        self._pool = self._pool.merged(new, p.pool)
        return True

    def _mine(self, window: Window) -> None:
        direction = self._pool.direction()
        if direction is None:
            return
        reference, options = self._reference, self._parameters.mining
        undisputed = (self._g_class == direction[0]) & (np.argmax(reference.f, axis=1) == direction[0])
        deep = self._pool.x[self._pool.along(direction)]
        recent = self._recent[self._recent_class == direction[0]]
        self._itemset = mine(deep, reference.x[undisputed], recent, reference.x, options)
        self._swap_gap = self._swap(window, undisputed, direction)

    def _swap(self, window: Window, undisputed: Bools, direction: tuple[int, int]) -> float | None:
        rows = np.flatnonzero(undisputed)
        if self._itemset is None or window.score_f is None or window.score_g is None or not len(rows):
            return None
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), self._parameters.swaps)).astype(np.int64)]
        pasted = self._itemset.paste(self._reference.x[rows])
        flipped = [
            np.mean(np.argmax(score(pasted), axis=1) == direction[1]) for score in (window.score_f, window.score_g)
        ]
        return float(flipped[0] - flipped[1])

    def _confident(self) -> Itemset | None:
        return self._itemset if self._itemset is not None and self._itemset.confident else None

    def _ask(self) -> tuple[Ask, ...]:
        p, pool, itemset = self._parameters, self._pool, self._confident()
        wanted = min(p.batch, p.asked - len(self._asked))
        if wanted <= 0 or self._answers.decided(itemset):
            return ()
        carrier = itemset.carries(pool.x) if itemset is not None else np.zeros(len(pool), np.bool_)
        order = np.lexsort((-pool.depth, ~carrier))
        known = set(self._asked) | self._answers.sessions
        rows = [i for i in order.tolist() if str(pool.session[i]) not in known][:wanted]
        self._asked += [str(pool.session[i]) for i in rows]
        classes = self._reference.schema.classes
        return tuple(
            Ask(
                str(pool.id[i]),
                f"is it {classes[pool.f_class[i]]}, as the serving version says, or {classes[pool.g_class[i]]}, "
                "as the last known good one does? Both are sure.",
            )
            for i in rows
        )

    def _evidence(self, share: Floats, log_e: float, asks: tuple[Ask, ...], disagreement_rate: float) -> Evidence:
        itemset = self._confident()
        llr, answers, right = self._answers.judged(itemset)
        gauges = {
            "disagreement_rate": disagreement_rate,
            "deep_rate": float(share[0]),
            "null_rate": float(self._null[0]),
            "deepest_rate": float(share[-1]),
        }
        if self._swap_gap is not None:
            gauges["swap_flip_gap"] = self._swap_gap
        return Evidence(
            self.name,
            "fired" if self._fired else "ok",
            score=float(share[0]),
            threshold=self._budget.alarm,
            e_value=as_e_value(log_e),
            top=self._top(),
            suspects=self._suspects,
            asks=asks,
            llr=llr if self._suspects and answers else None,
            answers=answers,
            implicated=self._implicated() if self._suspects else Implicated(),
            gauges=gauges,
            facts=self._facts(answers, right) if self._suspects else {},
        )

    def _deep(self) -> DeepEvents:
        """The pool's events in the main direction, carriers only where the itemset is confident."""
        direction, itemset = self._pool.direction(), self._confident()
        if direction is None:
            return self._pool
        rows = self._pool.along(direction)
        return self._pool.take(rows & itemset.carries(self._pool.x) if itemset is not None else rows)

    def _top(self) -> tuple[Contributor, ...]:
        if not self._suspects:
            return ()
        names, counts = np.unique(self._deep().source, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:3]
        return tuple(Contributor(f"source:{names[i]}", float(counts[i] / counts.sum())) for i in order.tolist())

    def _implicated(self) -> Implicated:
        """Sources are named where at most two of them hold 80 % of the deep sessions."""
        deep, schema, itemset = self._deep(), self._reference.schema, self._confident()
        top = self._top()[:2]
        concentrated = sum(t.contribution for t in top) >= 0.8  # noqa: PLR2004 - documented above
        labels = sorted({schema.classes[c] for c in deep.f_class.tolist()})
        return Implicated(
            features=itemset.named(schema) if itemset is not None else {},
            sources=tuple(t.name.removeprefix("source:") for t in top) if concentrated else (),
            labels=tuple(labels),
            events=tuple(deep.id[:100].tolist()),
        )

    def _facts(self, answers: int, right: int) -> dict[str, Any]:
        direction, itemset, classes = self._pool.direction(), self._confident(), self._reference.schema.classes
        top = self._top()
        facts: dict[str, Any] = {
            "asked": len(self._asked),
            "ask_limit": self._parameters.asked,
            "right": right,
            "wrong": answers - right,
            "neither": self._answers.neither,
            "deep_sessions": len(self._pool),
            "source_concentration": top[0].contribution if top else 0.0,
            "compact": itemset is not None,
        }
        if direction is not None:
            facts["from_class"], facts["to_class"] = classes[direction[0]], classes[direction[1]]
        if itemset is not None:
            facts["itemset"] = itemset.named(self._reference.schema)
            facts["itemset_share"], facts["itemset_outside"] = itemset.share, itemset.outside
        if self._swap_gap is not None:
            facts["swap_flip_gap"] = self._swap_gap
        return facts

    def state(self) -> State:
        """Bets, pool, itemset, questions and answers."""
        if not self._has_lkg:
            return {}
        return {
            "monitor": self._monitor.state(),
            "pool": self._pool.state(),
            "recent": self._recent.copy(),
            "recent_class": self._recent_class.copy(),
            "itemset": self._itemset.state() if self._itemset is not None else None,
            "swap_gap": self._swap_gap,
            "asked": list(self._asked),
            "fired": self._fired,
            "suspects": self._suspects,
            "answers": self._answers.state(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        if not self._has_lkg:
            return
        self._monitor.restore(state["monitor"])
        self._pool = DeepEvents.restored(state["pool"])
        self._recent = np.array(state["recent"], np.float64)
        self._recent_class = np.array(state["recent_class"], np.int64)
        self._itemset = Itemset.restored(state["itemset"]) if state["itemset"] is not None else None
        self._swap_gap = state["swap_gap"]
        self._asked = list(state["asked"])
        self._fired, self._suspects = bool(state["fired"]), bool(state["suspects"])
        self._answers.restore(state["answers"])
