"""From votes to a question to evidence: what the detectors of evasion and of probing do alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from detectors.batch import Labels, Reference
from detectors.bursts.burst_inquiry import BurstInquiry, Odds, Plausible
from detectors.bursts.parameters import BurstParameters
from detectors.bursts.source_scopes import SourceScopes
from detectors.evidence import Ask, Budget, Contributor, Evidence, Implicated, State
from detectors.sequential import as_e_value

_CALM: Final = 20
"""Windows after a conviction until a new burst is a new question."""


class BurstCase:
    """Bets of sessions, and from suspicion on one question at a time.

    An acquittal makes the rates that were seen the new null, and the bets begin anew; a conviction stands for 20
    windows. ``toward_majority``: whether the missed events are called what most of the reference is (an attack hides)
    or not (alerts are flooded).
    """

    def __init__(
        self,
        name: str,
        reference: Reference,
        scopes: SourceScopes,
        odds: Odds,
        p: BurstParameters,
        budget: Budget,
        plausible: Plausible,
    ) -> None:
        self._name, self._budget, self._level = name, budget, p.level
        self._classes = reference.schema.classes
        self._majority = majority(reference)
        self._most = p.asked
        self.scopes = scopes
        self._new: Callable[[], BurstInquiry] = lambda: BurstInquiry(odds, p.asked, p.batch, p.pool, plausible)
        self._clear()

    def _clear(self) -> None:
        self.inquiry = self._new()
        self._fired = self._suspects = False
        self._stands = 0

    def judge(self, index: int, labels: Labels | None, share: float, why: str, gauges: Mapping[str, float]) -> Evidence:
        """The evidence after the votes and suspects of a window; ``share`` is its score."""
        log_e = self.scopes.log_e
        self._fired = self._fired or bool(log_e >= np.log(self._budget.alarm))
        self._suspects = self._suspects or self._fired or bool(log_e >= np.log(self._budget.ask))
        asks: tuple[Ask, ...] = ()
        if self._suspects:
            self.inquiry.begin(index)
            self.inquiry.answer(labels)
            asks = self.inquiry.ask(self.scopes.top(), self._classes, why)
        evidence = self._evidence(share, log_e, asks, gauges)
        self._close()
        return evidence

    def _close(self) -> None:
        if self.inquiry.convicted:
            self._stands += 1
            if self._stands > _CALM:
                self.scopes.begin()
                self._clear()
        elif self._suspects and self.inquiry.acquitted:
            self.scopes.settle(self._level)
            self._clear()

    def _evidence(self, share: float, log_e: float, asks: tuple[Ask, ...], gauges: Mapping[str, float]) -> Evidence:
        raised = self._suspects
        llr, toward, answers, wrong = self.inquiry.judged()
        loud = self.scopes.loud(self._budget.ask) if raised else []
        return Evidence(
            self._name,
            "fired" if self._fired else "ok",
            score=share,
            threshold=self._budget.alarm,
            e_value=as_e_value(log_e),
            top=tuple(Contributor(f"source:{name}", log) for name, log in loud[:3]),
            suspects=raised,
            asks=asks,
            llr=llr if raised and answers else None,
            answers=answers if raised else 0,
            implicated=self.inquiry.implicated(self._classes) if raised else Implicated(),
            gauges=dict(gauges),
            facts=self._facts(toward, answers, wrong) if raised else {},
        )

    def _facts(self, toward: int | None, answers: int, wrong: int) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "asked": answers + self.inquiry.outstanding,
            "ask_limit": self._most,
            "wrong": wrong,
            "right": answers - wrong,
            "convicted": self.inquiry.convicted,
            "toward_majority": toward == self._majority,
            "seen_at": self.inquiry.seen_at(toward),
        }
        if toward is not None:
            facts["to_class"] = self._classes[toward]
        truths = [c for c, _ in self.inquiry.truths(toward).most_common() if c >= 0]
        if truths:
            facts["from_class"] = self._classes[truths[0]]
        return facts

    def state(self) -> State:
        """Bets, suspects, questions and answers."""
        return {
            "scopes": self.scopes.state(),
            "inquiry": self.inquiry.state(),
            "fired": self._fired,
            "suspects": self._suspects,
            "stands": self._stands,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self.scopes.restore(state["scopes"])
        self._clear()
        self.inquiry.restore(state["inquiry"])
        self._fired, self._suspects = bool(state["fired"]), bool(state["suspects"])
        self._stands = int(state["stands"])


def majority(reference: Reference) -> int:
    """The class of most of the reference: what an attack hides in."""
    y = reference.y[reference.y >= 0]
    judged = y if len(y) else np.argmax(np.nan_to_num(reference.f), axis=1)
    return int(np.bincount(judged).argmax())
