"""Trusted labels of deep events: they say who is right where the serving model contradicts the last known good one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Ints, Labels
from detectors.evidence import State
from detectors.nulls.itemsets import Itemset

DECISIVE: Final = float(np.log(20))
"""A log likelihood ratio from which on answers decide: 20 to 1 (four equal answers at the default probabilities)."""

FEWEST: Final = 4
"""Fewer answers decide nothing: a labeller who errs must not decide alone by two or three slips."""

_SHORT: Final = 0.999 * DECISIVE
_ENOUGH = 4  # carriers' answers from which on they decide alone
_MOST = 128  # answers kept


def weighed(llr: float, answers: int) -> float:
    """``llr``, kept short of `DECISIVE` while there are fewer than `FEWEST` answers.

    >>> weighed(4.4, 2) < DECISIVE, weighed(4.4, 4)
    (True, 4.4)
    """
    return llr if answers >= FEWEST else float(np.clip(llr, -_SHORT, _SHORT))


@dataclass(slots=True)
class _Answer:
    """What trusted origins said about one event; ``right`` by origin: whether it is the class that f gives."""

    id: str
    toward: int
    x: Floats
    right: dict[str, bool] = field(default_factory=dict)

    @property
    def disputed(self) -> bool:
        """Whether trusted origins contradict each other."""
        return len(set(self.right.values())) > 1


class Answers:
    """A ledger of answers, one event a session, with log likelihood ratio of poisoning against honest change.

    f right: ln(p/h), f wrong (g right): ln((1-p)/(1-h)), with p and h the probabilities that f is right under
    poisoning and under honest change. Labels that make both wrong say nothing about the two and are counted apart.
    An origin may correct itself; an event about which origins contradict each other counts for neither side, and
    where whole origins do (each decisive for itself), nothing is decided.

    A labeller who errs: with 5% wrong answers, 16 at most and a look after each, an honest version that is right in
    1, .95, .9, .8 of its deep disagreements is convicted with probability .00001, .0001, .0007, .0075, and a poisoned
    one that is right in 0, .05, .1, .2 is acquitted with .00003, .0005, .0023, .019.
    """

    def __init__(self, right_poisoned: float, right_honest: float) -> None:
        self._llr_right = float(np.log(right_poisoned / right_honest))
        self._llr_wrong = float(np.log((1 - right_poisoned) / (1 - right_honest)))
        self._answers: dict[str, _Answer] = {}
        self.neither = 0

    @property
    def sessions(self) -> set[str]:
        """The sessions that have been answered for."""
        return set(self._answers)

    @property
    def disputed(self) -> int:
        """How many events trusted origins contradict each other about."""
        return sum(answer.disputed for answer in self._answers.values())

    def take(self, labels: Labels, rows: Bools, f_class: Ints, g_class: Ints) -> None:
        """Enter the trusted ones of the labels in ``rows``, in order of arrival; the classes are the models'."""
        for i in np.flatnonzero(labels.trusted & rows).tolist():
            session, ident = str(labels.session[i]), str(labels.id[i])
            answer = self._answers.get(session)
            if len(self._answers) >= _MOST if answer is None else answer.id != ident:
                continue
            label = int(labels.label[i])
            if label not in (int(f_class[i]), int(g_class[i])):
                self.neither += 1
                continue
            if answer is None:
                answer = self._answers[session] = _Answer(ident, int(f_class[i]), labels.x[i].copy())
            answer.right[str(labels.origin[i])] = label == f_class[i]

    def judged(self, itemset: Itemset | None, toward: int | None) -> tuple[float, int, int]:
        """Log likelihood ratio, number of answers and how often f was right.

        Only answers on events that f puts in class ``toward`` count; of these, carriers' alone if four answered.
        """
        right = np.array([next(iter(a.right.values())) for a in self._counting(itemset, toward)], np.bool_)
        llr = weighed(self._llr(right), len(right))
        if self.opposed(itemset, toward):
            llr = float(np.clip(llr, -_SHORT, _SHORT))
        return llr, len(right), int(right.sum())

    def opposed(self, itemset: Itemset | None, toward: int | None) -> tuple[str, ...]:
        """Origins of which each has decided for itself, and not all alike; empty where there are none."""
        by_origin: dict[str, list[bool]] = {}
        for answer in self._asked(itemset, toward):
            for origin, right in answer.right.items():
                by_origin.setdefault(origin, []).append(right)
        decided = {origin: weighed(self._llr(np.array(right)), len(right)) for origin, right in by_origin.items()}
        sure = {origin: llr > 0 for origin, llr in decided.items() if abs(llr) >= DECISIVE}
        return tuple(sorted(sure)) if len(set(sure.values())) > 1 else ()

    def origins(self, itemset: Itemset | None, toward: int | None) -> dict[str, int]:
        """How many of the answers that count each origin gave."""
        counts: dict[str, int] = {}
        for answer in self._counting(itemset, toward):
            for origin in answer.right:
                counts[origin] = counts.get(origin, 0) + 1
        return counts

    def _llr(self, right: Bools) -> float:
        count = int(right.sum())
        return count * self._llr_right + (len(right) - count) * self._llr_wrong

    def _asked(self, itemset: Itemset | None, toward: int | None) -> list[_Answer]:
        asked = [a for a in self._answers.values() if a.toward == toward]
        if itemset is None or not asked:
            return asked
        carrier = itemset.carries(np.stack([a.x for a in asked]))
        carriers = [a for a, carries in zip(asked, carrier.tolist(), strict=True) if carries]
        return carriers if sum(not a.disputed for a in carriers) >= _ENOUGH else asked

    def _counting(self, itemset: Itemset | None, toward: int | None) -> list[_Answer]:
        return [a for a in self._asked(itemset, toward) if not a.disputed]

    def state(self) -> State:
        """What `take` has changed."""
        answers = [
            {"session": session, "id": a.id, "toward": a.toward, "x": a.x.copy(), "right": dict(a.right)}
            for session, a in self._answers.items()
        ]
        return {"answers": answers, "neither": self.neither}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._answers = {
            str(row["session"]): _Answer(
                str(row["id"]),
                int(row["toward"]),
                np.array(row["x"], np.float64),
                {str(origin): bool(right) for origin, right in row["right"].items()},
            )
            for row in state["answers"]
        }
        self.neither = int(state["neither"])
