"""One question to trusted labellers: which deep events raise it, what they share, who was asked, who is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from detectors.asking.answers import DECISIVE, Answers
from detectors.asking.deep_events import DeepEvents
from detectors.asking.order import spread
from detectors.batch import Bools, Ints, Reference, Window
from detectors.evidence import Ask, Contributor, Implicated, State
from detectors.nulls.itemsets import Itemset, Mining, mine

if TYPE_CHECKING:
    from detectors.batch import Floats


_NAMED: Final = 3  # events whose labels are named as wanted


class HowToAsk(Protocol):
    """What the parameters of a detector that asks say: how many labels, how likely f is right, how to mine."""

    @property
    def asked(self) -> int:
        """Labels at most."""

    @property
    def batch(self) -> int:
        """Labels at most in one window."""

    @property
    def right_poisoned(self) -> float:
        """Probability that f is right under poisoning."""

    @property
    def right_honest(self) -> float:
        """Probability that f is right under honest change."""

    @property
    def swaps(self) -> int:
        """Rows of the swap test."""

    @property
    def mining(self) -> Mining:
        """How itemsets are mined."""


class Inquiry:
    """Is the serving model right where it contradicts LKG deeply? Open from suspicion until trusted answers decide.

    The question is about the most frequent direction (class by g, class by f): events that f puts elsewhere are other
    questions. ``pool`` holds one deep event a session. Answers that speak for poisoning 20 to 1 end it for good
    (Wald's sequential test stops where it first crosses): no flood of later answers takes a conviction back.
    """

    def __init__(self, reference: Reference, g_class: Ints, parameters: HowToAsk) -> None:
        self._reference, self._g_class, self._parameters = reference, g_class, parameters
        features = reference.x.shape[1]
        self.pool = DeepEvents.none(features)
        self._itemset: Itemset | None = None
        self._swap_gap: float | None = None
        self._asked: list[str] = []
        self._convicted: float | None = None
        self.answers = Answers(parameters.right_poisoned, parameters.right_honest)

    @property
    def itemset(self) -> Itemset | None:
        """What the deep events share, where that is confident."""
        return self._itemset if self._itemset is not None and self._itemset.confident else None

    @property
    def direction(self) -> tuple[int, int] | None:
        """The class that LKG gives most of the deep events, and the one that the serving model does."""
        return self.pool.direction()

    def judged(self) -> tuple[float, int, int]:
        """Log likelihood ratio of poisoning against honest change, number of answers, how often f was right."""
        direction = self.direction
        llr, answers, right = self.answers.judged(self.itemset, direction[1] if direction else None)
        if self._convicted is None and llr >= DECISIVE:
            self._convicted = llr
        return (llr if self._convicted is None else max(llr, self._convicted)), answers, right

    @property
    def acquitted(self) -> bool:
        """Whether trusted answers approve of what the serving model has learned."""
        return self.judged()[0] <= -DECISIVE

    @property
    def convicted(self) -> bool:
        """Whether trusted answers have said that the serving model is wrong."""
        return self.judged()[0] >= DECISIVE

    @property
    def open(self) -> bool:
        """Whether further answers would count."""
        return abs(self.judged()[0]) < DECISIVE

    def study(self, window: Window, recent: Floats, recent_class: Ints) -> None:
        """Mine the pool for what it shares; ``recent`` are undisputed events, with the class that LKG gives them."""
        direction = self.direction
        if direction is None:
            return
        reference, options = self._reference, self._parameters.mining
        undisputed = (self._g_class == direction[0]) & (np.argmax(reference.f, axis=1) == direction[0])
        deep = self.pool.x[self.pool.along(direction)]
        calm = recent[recent_class == direction[0]]
        self._itemset = mine(deep, reference.x[undisputed], calm, reference.x, options)
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

    def ask(self) -> tuple[Ask, ...]:
        """The deepest sessions that f puts in the same class, carriers of the itemset first, as far as allowed.

        They are spread over sources. Nobody can label an event whose id an earlier one has: what is shown, and what a
        label is joined with, is the earlier one. Such events are never asked about, and are counted.
        """
        p, pool, itemset = self._parameters, self.pool, self.itemset
        wanted = min(p.batch, p.asked - len(self._asked))
        direction = self.direction
        if wanted <= 0 or direction is None or not self.open:
            return ()
        carrier = itemset.carries(pool.x) if itemset is not None else np.zeros(len(pool), np.bool_)
        known = set(self._asked) | self.answers.sessions
        new = np.array([session not in known for session in pool.session.tolist()], np.bool_)
        askable = new & (pool.f_class == direction[1]) & ~pool.repeated
        order = np.argsort(-pool.depth, kind="stable")
        ranks = [order[(askable & standing)[order]] for standing in (carrier, ~carrier)]
        rows = spread(ranks, pool.source, wanted)
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

    def _deep(self) -> DeepEvents:
        """The pool's events in the main direction, carriers only where the itemset is confident."""
        direction, itemset = self.direction, self.itemset
        if direction is None:
            return self.pool
        rows = self.pool.along(direction)
        return self.pool.take(rows & itemset.carries(self.pool.x) if itemset is not None else rows)

    def _wanted(self) -> list[str]:
        """The deepest events that can be labelled and are not yet: which labels would say most."""
        deep, answered = self._deep(), self.answers.sessions
        new = np.array([session not in answered for session in deep.session.tolist()], np.bool_)
        return [str(i) for i in deep.id[new & ~deep.repeated][:_NAMED]]

    def top(self) -> tuple[Contributor, ...]:
        """Which sources the deep sessions come from, with their shares."""
        deep = self._deep()
        names, counts = np.unique(deep.source, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:3]
        return tuple(Contributor(f"source:{names[i]}", float(counts[i] / counts.sum())) for i in order.tolist())

    def implicated(self) -> Implicated:
        """Sources are named where at most two of them hold 80 % of the deep sessions."""
        deep, schema, itemset = self._deep(), self._reference.schema, self.itemset
        top = self.top()[:2]
        concentrated = sum(t.contribution for t in top) >= 0.8  # noqa: PLR2004 - documented above
        labels = sorted({schema.classes[c] for c in deep.f_class.tolist()})
        return Implicated(
            features=itemset.named(schema) if itemset is not None else {},
            sources=tuple(t.name.removeprefix("source:") for t in top) if concentrated else (),
            labels=tuple(labels),
            events=tuple(deep.id[:100].tolist()),
        )

    def facts(self) -> dict[str, Any]:
        """What the verdict reads."""
        _, answers, right = self.judged()
        direction, itemset, classes = self.direction, self.itemset, self._reference.schema.classes
        top = self.top()
        facts: dict[str, Any] = {
            "asked": len(self._asked),
            "ask_limit": self._parameters.asked,
            "right": right,
            "wrong": answers - right,
            "neither": self.answers.neither,
            "disputed": self.answers.disputed,
            "opposed_origins": list(self.answers.opposed(self.itemset, direction[1] if direction else None)),
            "answering_origins": self.answers.origins(self.itemset, direction[1] if direction else None),
            "repeated_ids": int(self.pool.repeated.sum()),
            "wanted": self._wanted(),
            "deep_sessions": len(self.pool),
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

    @property
    def gauges(self) -> dict[str, float]:
        """How much more the itemset flips f than g, where it was tried."""
        return {} if self._swap_gap is None else {"swap_flip_gap": self._swap_gap}

    def state(self) -> State:
        """Pool, itemset, questions and answers."""
        return {
            "pool": self.pool.state(),
            "itemset": self._itemset.state() if self._itemset is not None else None,
            "swap_gap": self._swap_gap,
            "asked": list(self._asked),
            "convicted": self._convicted,
            "answers": self.answers.state(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self.pool = DeepEvents.restored(state["pool"])
        self._itemset = Itemset.restored(state["itemset"]) if state["itemset"] is not None else None
        self._swap_gap = state["swap_gap"]
        self._asked = list(state["asked"])
        self._convicted = state["convicted"]
        self.answers.restore(state["answers"])
