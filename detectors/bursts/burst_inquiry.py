"""One question to trusted labellers: whether both models missed the events that look crafted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.spatial.distance import cdist

from detectors.asking.answers import DECISIVE, weighed
from detectors.batch import Columns, Floats, Ints, Labels, Places, Strings
from detectors.evidence import Ask, Implicated, State

_KEPT: Final = 3
"""Windows whose events may be asked about before there is a suspicion: older ones have nothing to do with it."""

_SIDE: Final = 3
"""Suspects from which on a called class is a side that is asked about."""


_MOST: Final = 64  # answers kept
_SHORT: Final = 0.999 * DECISIVE


@dataclass(frozen=True, slots=True)
class Suspects(Columns):
    """Events that look crafted, one a session: score, the class that both models call, window, and place in space."""

    id: Strings
    source: Strings
    session: Strings
    score: Floats
    called: Ints
    window: Ints
    at: Places

    @staticmethod
    def none(width: int) -> Suspects:
        """No events."""
        empty, whole = np.zeros(0, "<U1"), np.zeros(0, np.int64)
        at = np.zeros((0, width), np.float32)
        return Suspects(empty, empty.copy(), empty.copy(), np.zeros(0), whole, whole.copy(), at)

    def merged(self, new: Suspects, size: int, oldest: int) -> Suspects:
        """The ``size`` highest of both from window ``oldest`` on, highest first, the highest event of each session."""
        both = Suspects.concat([self, new])
        order = np.argsort(-both.score, kind="stable")
        order = order[both.window[order] >= oldest]
        _, first = np.unique(both.session[order], return_index=True)
        return both.take(order[np.sort(first)[:size]])

    def state(self) -> State:
        """The columns, for a checkpoint."""
        return {name: getattr(self, name).copy() for name in self.arrays()}


@dataclass(frozen=True, slots=True)
class Odds:
    """Probability that both models are wrong about an event that was asked about, by class that they call."""

    wrong_crafted: float
    wrong_honest: Floats


Plausible = Callable[[int, Floats], bool]
"""Whether what was missed may be crafted: the class that it was called, and the places of the missed events."""


class BurstInquiry:
    """Which suspects to ask about, who was asked, and what the answers amount to.

    An answer is *wrong* where both models call a class that is not the true one (a class that they do not know counts
    as such), *right* where they call the true one. Log likelihood ratio of evasion against honest traffic, apart for
    every called class because an attack aims at one: wrong ln(w/h), right ln((1-w)/(1-h)), with w and h of `Odds`.
    Evasion that is decisive ends the question (Wald 1945): later answers do not take it back. Contradicting answers
    of different origins on one event count for neither side. What is not ``plausible`` is news, and ends it as well.
    """

    def __init__(self, odds: Odds, asked: int, batch: int, pool: int, plausible: Plausible) -> None:
        self._odds, self._most, self._batch, self._size = odds, asked, batch, pool
        self._plausible = plausible
        self._pool: Suspects | None = None
        self._since: int | None = None
        self._asked: dict[str, tuple[int, str, str]] = {}
        self._about: dict[str, tuple[int, str, str]] = {}
        self._said: dict[str, dict[str, int]] = {}
        self._places: dict[str, Floats] = {}
        self._stands = False

    @property
    def pool(self) -> Suspects:
        """Who may be asked about, highest first."""
        return Suspects.none(0) if self._pool is None else self._pool

    def collect(self, new: Suspects, index: int) -> None:
        """Add a window's suspects; those from before the suspicion are forgotten in time."""
        oldest = index - _KEPT + 1 if self._since is None else self._since
        self._pool = (new.take(slice(0, 0)) if self._pool is None else self._pool).merged(new, self._size, oldest)

    def begin(self, index: int) -> None:
        """There is a suspicion from this window on."""
        if self._since is None:
            self._since = index - _KEPT + 1

    def ask(self, first: str | None, classes: tuple[str, ...], why: str) -> tuple[Ask, ...]:
        """The highest suspects not asked about, of source ``first`` before others, as far as allowed.

        Both sides of a boundary are asked about alike, until the answers lean: of those who walk along it, the events
        on one side are called what they are.
        """
        wanted = min(self._batch, self._most - len(self._asked))
        if wanted <= 0 or not self.open:
            return ()
        pool = self.pool
        known = {session for _, session, _ in self._asked.values()} | {self._about[i][1] for i in self._said}
        elsewhere = pool.source != first if first else np.zeros(len(pool), np.bool_)
        order = [i for i in np.lexsort((self._rank(), elsewhere)).tolist() if str(pool.session[i]) not in known]
        rows = _in_turn([[i for i in order if pool.called[i] == side] for side in self._sides()])[:wanted]
        for i in rows:
            self._asked[str(pool.id[i])] = (int(pool.called[i]), str(pool.session[i]), str(pool.source[i]))
        self._keep_places(rows)
        return tuple(Ask(str(pool.id[i]), why.format(called=classes[pool.called[i]])) for i in rows)

    def _rank(self) -> Floats:
        """The order of scores; once something was missed, with the order of distances to what was."""
        pool = self.pool
        rank = np.argsort(np.argsort(-pool.score, kind="stable"), kind="stable").astype(np.float64)
        missed = self._missed_at(None)
        if not len(missed):
            return rank
        apart = cdist(pool.at, missed).min(axis=1)
        return rank + np.argsort(np.argsort(apart, kind="stable"), kind="stable")

    def _sides(self) -> list[int]:
        """Called classes to ask about: the one that answers lean against; else the open ones, that of most first."""
        llr = self._by_side()
        leaning = [c for c, value in llr.items() if value > 0]
        if leaning:
            return [max(leaning, key=lambda c: llr[c])]
        return [c for c in self._large() if llr.get(c, 0.0) > -DECISIVE]

    def _large(self) -> list[int]:
        """Called classes of at least `_SIDE` suspects, that of most first; the first one whatever its number."""
        counts = Counter(self.pool.called.tolist()).most_common()
        return [c for at, (c, n) in enumerate(counts) if at == 0 or n >= _SIDE]

    def answer(self, labels: Labels | None) -> None:
        """Enter trusted labels of suspects, whoever asked for them."""
        if labels is None:
            return
        pool = self.pool
        rows = zip(pool.id.tolist(), pool.called.tolist(), pool.session.tolist(), pool.source.tolist(), strict=True)
        suspects = self._asked | {i: (c, session, source) for i, c, session, source in rows} | self._about
        for i in np.flatnonzero(labels.trusted).tolist():
            ident = str(labels.id[i])
            if ident in suspects and (ident in self._said or len(self._said) < _MOST):
                self._about[ident] = suspects[ident]
                self._keep_places(np.flatnonzero(pool.id == ident).tolist())
                self._said.setdefault(ident, {})[str(labels.origin[i])] = int(labels.label[i])
        self._stands = self._stands or any(
            llr >= DECISIVE and self._plausible(called, self._missed_at(called))
            for called, llr in self._by_side().items()
        )

    def _keep_places(self, rows: list[int]) -> None:
        for i in rows:
            self._places.setdefault(str(self.pool.id[i]), self.pool.at[i].copy())

    def _missed_at(self, called: int | None) -> Floats:
        """Places of the missed events, of those that were called so (None: of all)."""
        kept = [self._places[i] for i, c, label in self._answers() if label != c and called in (None, c)]
        return np.stack(kept) if kept else np.zeros((0, 0), np.float32)

    def _answers(self) -> list[tuple[str, int, int]]:
        """Id, called class and true class of every event that is answered without contradiction."""
        agreed = [(i, next(iter(s.values()))) for i, s in self._said.items() if len(set(s.values())) == 1]
        return [(ident, self._about[ident][0], label) for ident, label in agreed]

    def _by_side(self) -> dict[int, float]:
        """Log likelihood ratio by called class."""
        answers = self._answers()
        sides = sorted({c for _, c, _ in answers})
        wrong = {side: np.array([label != c for _, c, label in answers if c == side]) for side in sides}
        return {side: self._path(np.cumsum(w), float(self._odds.wrong_honest[side])) for side, w in wrong.items()}

    def judged(self) -> tuple[float, int | None, int, int]:
        """Log likelihood ratio, the called class that it is about, number of answers, how many were wrong.

        The side that speaks most for evasion; it is acquitted only where every large side is.
        """
        answers, sides = self._answers(), self._by_side()
        missed = sum(label != called for _, called, label in answers)
        if not sides:
            return 0.0, None, 0, 0
        toward = max(sides, key=lambda c: sides[c])
        llr = sides[toward]
        if llr <= -DECISIVE and any(sides.get(c, 0.0) > -DECISIVE for c in self._large()):
            llr = max(-_SHORT, *(sides.get(c, 0.0) for c in self._large()))
        if llr >= DECISIVE and not self._stands:
            llr = _SHORT
        return llr, toward, len(answers), missed

    def _path(self, wrong: Ints, honest: float) -> float:
        """The ratio after the answers in turn; where it first is decisive for evasion it stays at least that."""
        count = np.arange(1, len(wrong) + 1)
        crafted = self._odds.wrong_crafted
        path = wrong * np.log(crafted / honest) + (count - wrong) * np.log((1 - crafted) / (1 - honest))
        path = np.array([weighed(float(p), int(n)) for p, n in zip(path, count, strict=True)])
        crossed = np.flatnonzero(path >= DECISIVE)
        return float(max(path[-1], path[crossed[0]])) if len(crossed) else float(path[-1])

    @property
    def convicted(self) -> bool:
        """Whether trusted answers say that both models are fooled."""
        return self.judged()[0] >= DECISIVE

    @property
    def acquitted(self) -> bool:
        """Whether trusted answers say that both models are right, that it is news, or all have come undecided."""
        llr, toward, answers, _ = self.judged()
        if toward is not None and answers and llr == _SHORT and self._by_side()[toward] >= DECISIVE:
            return True
        done = len(self._asked) >= self._most and self._asked.keys() <= self._said.keys()
        return llr <= -DECISIVE or (done and llr < DECISIVE)

    @property
    def open(self) -> bool:
        """Whether further answers would count."""
        return not (self.convicted or self.acquitted)

    @property
    def outstanding(self) -> int:
        """How many of the labels asked for have not come."""
        return len(self._asked.keys() - self._said.keys())

    def truths(self, toward: int | None) -> Counter[int]:
        """The true classes of what both models missed, of what they called ``toward`` (None: of all)."""
        return Counter(label for _, called, label in self._answers() if label != called and toward in (None, called))

    def missed(self) -> list[tuple[str, str]]:
        """Id and source of the events that both models missed."""
        return [(i, self._about[i][2]) for i, called, label in self._answers() if label != called]

    def seen_at(self, toward: int | None) -> dict[str, int]:
        """Missed events that were called ``toward``, counted by source; suspects where none is missed."""
        missed = [self._about[i][2] for i, c, label in self._answers() if label != c and toward in (None, c)]
        return dict(Counter(missed or self.pool.source[: self._most].tolist()))

    def implicated(self, classes: tuple[str, ...]) -> Implicated:
        """Missed events first, then other suspects; sources where at most three hold 80 % of what is known."""
        missed = self.missed()
        known = [source for _, source in missed] or self.pool.source[: self._most].tolist()
        top = Counter(known).most_common(3)
        held = sum(n for _, n in top) >= 0.8 * len(known)
        toward = self.judged()[1]
        ids = dict.fromkeys([i for i, _ in missed] + self.pool.id.tolist())
        return Implicated(
            sources=tuple(s for s, _ in top) if held and known else (),
            labels=() if toward is None else (classes[toward],),
            events=tuple(ids)[:100],
        )

    def state(self) -> State:
        """Pool, questions and answers."""
        return {
            "pool": None if self._pool is None else self._pool.state(),
            "since": self._since,
            "stands": self._stands,
            "asked": [[i, called, session, source] for i, (called, session, source) in self._asked.items()],
            "about": [[i, called, session, source] for i, (called, session, source) in self._about.items()],
            "places": {i: at.copy() for i, at in self._places.items()},
            "said": {i: dict(s) for i, s in self._said.items()},
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        columns = state["pool"]
        self._pool = None if columns is None else Suspects(**{n: np.array(column) for n, column in columns.items()})
        self._since, self._stands = state["since"], bool(state["stands"])
        self._asked = {str(i): (int(c), str(session), str(source)) for i, c, session, source in state["asked"]}
        self._places = {str(i): np.array(at, np.float32) for i, at in state["places"].items()}
        self._about = {str(i): (int(c), str(session), str(source)) for i, c, session, source in state["about"]}
        self._said = {str(i): {str(o): int(label) for o, label in s.items()} for i, s in state["said"].items()}


def _in_turn(sides: list[list[int]]) -> list[int]:
    """One of each list in turn, until all are empty."""
    longest = max(map(len, sides), default=0)
    return [side[at] for at in range(longest) for side in sides if at < len(side)]
