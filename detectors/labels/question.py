"""One question to trusted labellers: are those labels false that contradict the last known good model."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors.asking.answers import DECISIVE
from detectors.asking.order import spread
from detectors.batch import Bools, Floats, Ints, Labels, Strings
from detectors.evidence import Ask, Budget, Contributor, Implicated, State
from detectors.labels.claims import FALSE, TRUE, UNKNOWN, Claims, Verdicts
from detectors.labels.ledger import FlipBets
from detectors.labels.scopes import Cells
from detectors.nulls.margins import log_scores
from detectors.schema import Schema
from detectors.sequential import sessions_of

if TYPE_CHECKING:
    from detectors.label_agreement import Parameters

_SHORT: Final = 0.999 * DECISIVE
_ENOUGH_TRUE: Final = 2  # true claims in a region from which on others there are doubted less
_MOST_FALSE: Final = 0.25  # of the answers, where they acquit: some claims are always noise
_PEERS: Final = float(np.log(100))  # claims are asked about whose bets have won at least 1/100 of the best ones
_LOUD: Final = float(np.log(100))  # sources and origins are named whose own bets have won that much
_RUBRIC: Final = 0.6  # who differs about more of a class has no rubric
_ALONE: Final = (0.6, 0.6)  # one origin: at least so much of the excess with at most so much of the labels,
_ALSO: Final = float(np.log(10))  # while no other origin's bets have won that much


class FlipQuestion:
    """Claims, whom to ask about which of them, and what the answers amount to; ``bets`` say where flips are suspected.

    Flips that answers have confirmed 20 to 1 stay confirmed (Wald's sequential test stops where it first crosses).
    """

    def __init__(self, schema: Schema, cells: Cells, bets: FlipBets, parameters: Parameters, budget: Budget) -> None:
        self._schema, self._cells, self._bets = schema, cells, bets
        self._parameters, self._budget = parameters, budget
        self._claims = Claims.none()
        self._verdicts = Verdicts(parameters.false_poisoned, parameters.false_honest, parameters.claims)
        self._asked: list[str] = []
        self._open = 0  # labels asked for in the question that is open
        self._convicted: float | None = None

    def hear(self, labels: Labels) -> None:
        """Enter trusted labels of events about which there is a claim."""
        self._verdicts.take(self._claims, labels)

    def close(self) -> None:
        """Nothing is suspected any more: a next question has a budget of its own."""
        self._open = 0

    def claim(self, labels: Labels, g: Floats, g_class: Ints, number: Ints) -> None:
        """Keep the strongest contradiction of each session."""
        code, _ = sessions_of(labels.session)
        logs = log_scores(g)
        strength = logs.max(axis=1) - logs[np.arange(len(g)), labels.label]
        rows = np.flatnonzero(g_class != labels.label)
        rows = rows[np.argsort(-strength[rows], kind="stable")]
        rows = np.sort(rows[np.unique(code[rows], return_index=True)[1]])
        new = Claims(
            labels.id[rows],
            labels.session[rows],
            labels.source[rows],
            labels.origin[rows],
            labels.label[rows],
            g_class[rows],
            strength[rows],
            number[code[rows]],
        )
        self._claims = self._claims.joined(new, self._parameters.claims)

    def _rows_of_claims(self) -> tuple[Claims, Ints]:
        """Claims whose sessions are still in the ledger, and their rows there."""
        rows = self._bets.rows
        first = int(rows.number[0]) if len(rows) else 0
        held = self._claims.take(self._claims.number >= first)
        return held, held.number - first

    def truth(self) -> Ints:
        """`UNKNOWN`, `TRUE` or `FALSE` for each session of the ledger."""
        truth = np.full(len(self._bets.rows), UNKNOWN)
        claims, rows = self._rows_of_claims()
        truth[rows] = self._verdicts.of(claims)
        return truth

    def doubt(self, truth: Ints, approved: Floats) -> Floats:
        """The share of contradictions in each cell that answers leave open to doubt.

        ``approved``: contradictions there that trusted labels made as well, unasked.
        """
        region = self._bets.rows.cells[:, -1]
        cells = len(self._cells)
        true = np.bincount(region[truth == TRUE], minlength=cells) + approved
        false = np.bincount(region[truth == FALSE], minlength=cells)
        return np.where(true >= _ENOUGH_TRUE, (false + 1) / (true + false + 1), 1.0)

    def judged(self) -> tuple[float, int, int]:
        """Log likelihood ratio of poisoning against honest change, number of answers, how many claims were false.

        Answers in the top cell convict, once flips there are beyond noise too; answers from everywhere acquit.
        """
        claims, rows = self._rows_of_claims()
        rho, noise = self._bets.shares()
        suspect = self._top_claims(rows) & self._by_loud(claims)
        here, _, _ = self._verdicts.judged(rho, noise, set(claims.session[suspect].tolist()))
        everywhere, answers, false = self._verdicts.judged(rho, noise)
        beyond = self._bets.log_r + np.log(self._parameters.untrusted) >= np.log(self._budget.alarm)
        if self._convicted is None and here >= DECISIVE and beyond and not self._since_first_label():
            self._convicted = here
        if self._convicted is not None:
            return max(self._convicted, here), answers, false
        least = -np.inf if false <= _MOST_FALSE * answers else -_SHORT
        return float(np.clip(here if here > 0 else everywhere, least, _SHORT)), answers, false

    def _top_claims(self, rows: Ints) -> Bools:
        return np.asarray((self._bets.rows.cells[rows] == self._bets.cell).any(axis=1), np.bool_)

    def _by_loud(self, claims: Claims) -> Bools:
        """Claims of sources and origins whose own bets have won; all of them where nobody's have."""
        sources, origins = self._bets.loud(_LOUD)
        loud = np.isin(claims.source, [n for n, _ in sources]) | np.isin(claims.origin, [n for n, _ in origins])
        return loud if sources or origins else np.ones(len(claims), np.bool_)

    def _one_origin(self) -> str | None:
        """The origin that gave most excess contradictions of the top cell but not most labels, if there is one."""
        labels, excess = self._bets.by_origin()
        if np.count_nonzero(labels) < 2 or not excess.sum():  # noqa: PLR2004 - one origin has nothing to differ from
            return None
        top = int(np.argmax(excess))
        name = self._bets.origin_slots.names[top]
        alone = excess[top] >= _ALONE[0] * excess.sum() and labels[top] <= _ALONE[1] * labels.sum()
        others = [n for n, _ in self._bets.loud(_ALSO)[1] if n != name]
        return name if alone and not others else None

    def _since_first_label(self) -> bool:
        """One origin differs in part of a class, and nothing shows that it ever labelled otherwise there."""
        origin = self._one_origin()
        return origin is not None and self._bets.differs(origin) <= _RUBRIC and not self._bets.changed(origin)

    def ask(self) -> tuple[Ask, ...]:
        """The claims on which most has been won, not all from one source; each session once."""
        p, classes = self._parameters, self._schema.classes
        wanted = min(p.batch, p.asked - self._open)
        claims, rows = self._rows_of_claims()
        known = set(self._asked) | self._verdicts.sessions
        new = np.array([session not in known for session in claims.session.tolist()], np.bool_)
        if wanted <= 0 or not new.any():
            return ()
        odds = self._bets.odds(rows)
        worth = odds - np.log(self._bets.expected[rows])
        peers = np.flatnonzero(new & (odds >= odds.max() - _PEERS))
        order = peers[np.argsort(-worth[peers], kind="stable")]
        suspect = (self._top_claims(rows) & self._by_loud(claims))[order]
        picked = spread([order[suspect], order[~suspect]], claims.source, wanted)
        every = np.flatnonzero(new)
        picked = _not_of_one(picked, every[np.argsort(-odds[every], kind="stable")], claims.source)
        self._asked = (self._asked + [str(claims.session[i]) for i in picked])[-p.claims :]
        self._open += len(picked)
        return tuple(
            Ask(
                str(claims.id[i]),
                f"{claims.origin[i]} labels it {classes[claims.label[i]]}; the last known good model says "
                f"{classes[claims.g_class[i]]}. Which is true?",
            )
            for i in picked
        )

    def _in_top(self) -> Claims:
        claims, rows = self._rows_of_claims()
        return claims.take(self._top_claims(rows) & (claims.number >= self._bets.since))

    def facts(self, answers: int, false: int) -> dict[str, Any]:
        """What the verdict reads."""
        claims, classes = self._in_top(), self._schema.classes
        pairs = Counter(zip(claims.g_class.tolist(), claims.label.tolist(), strict=True))
        facts: dict[str, Any] = {
            "scope": self._cells.names[self._bets.cell],
            "asked": len(self._asked),
            "ask_limit": self._parameters.asked,
            "false": false,
            "true": answers - false,
            "disputed": self._verdicts.disputed,
            "opposed_origins": list(self._verdicts.opposed(*self._bets.shares())),
            "origins": dict(Counter(claims.origin.tolist()).most_common(5)),
            "one_origin": self._one_origin(),
            "since_first_label": self._since_first_label(),
        }
        if pairs:
            (predicted, labelled), _ = pairs.most_common(1)[0]
            facts["from_class"], facts["to_class"] = classes[predicted], classes[labelled]
        return facts

    def top(self) -> tuple[Contributor, ...]:
        """The top cell, and who stands out in it."""
        sources, origins = self._bets.loud(0.0)
        named = [(self._cells.names[self._bets.cell], self._bets.log_r)]
        named += [(f"source:{n}", e) for n, e in sources] + [(f"origin:{n}", e) for n, e in origins]
        return tuple(Contributor(n, e) for n, e in sorted(named, key=lambda pair: -pair[1])[:5])

    def implicated(self) -> Implicated:
        """Sources and origins whose own bets in the top cell have won; labels that were claimed there."""
        sources, origins = self._bets.loud(_LOUD)
        claims, classes = self._in_top(), self._schema.classes
        return Implicated(
            sources=tuple(name for name, _ in sources),
            origins=tuple(name for name, _ in origins),
            labels=tuple(sorted({classes[c] for c in claims.label.tolist()})),
            events=tuple(claims.id[-100:].tolist()),
        )

    def state(self) -> State:
        """Claims, questions and answers."""
        return {
            "claims": self._claims.state(),
            "verdicts": self._verdicts.state(),
            "asked": list(self._asked),
            "open": self._open,
            "convicted": self._convicted,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._claims = Claims.restored(state["claims"])
        self._verdicts.restore(state["verdicts"])
        self._asked, self._open = list(state["asked"]), int(state["open"])
        self._convicted = None if state["convicted"] is None else float(state["convicted"])


def _not_of_one(picked: list[int], order: Ints, source: Strings) -> list[int]:
    """The picked rows; if all are of one source, the last gives way to the best of another."""
    if len(picked) < 2 or len(set(source[picked].tolist())) > 1:  # noqa: PLR2004 - one is always of one source
        return picked
    others = [row for row in order.tolist() if source[row] != source[picked[0]]]
    return [*picked[:-1], *others[:1]] if others else picked
