"""One question to trusted labellers: are those labels false that contradict the last known good model."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np

from detectors.asking.answers import DECISIVE, FEWEST
from detectors.asking.order import spread
from detectors.batch import Bools, Floats, Ints, Labels, Strings
from detectors.evidence import Ask, Budget, Contributor, Implicated, State
from detectors.labels.claims import FALSE, TRUE, UNKNOWN, Claims, Verdicts
from detectors.labels.ledger import FlipBets
from detectors.labels.parameters import Parameters
from detectors.labels.scopes import Cells
from detectors.nulls.margins import log_scores
from detectors.schema import Schema
from detectors.sequential import sessions_of

_SHORT: Final = 0.999 * DECISIVE
_ENOUGH_TRUE: Final = 2  # true claims in a region from which on others there are doubted less
_MOST_FALSE: Final = 0.25  # of the answers, where they acquit: some claims are always noise
_PEERS: Final = float(np.log(100))  # claims are asked about whose bets have won at least 1/100 of the best ones
_LOUD: Final = float(np.log(100))  # sources and origins are named whose own bets have won that much
_RUBRIC: Final = 0.9  # who differs about more of a class has no rubric
_CHANGED: Final = float(np.log(20))  # the log e-value from which on he has labelled otherwise before,
_LIKELY: Final = float(np.log(3))  # and that from which on he is suspected to have
_PATIENCE: Final = 4  # windows after which so few answers are expected to stay the only ones
_FEW_SECOND: Final = (0.25, 1e-3)  # others second a group's contradictions so seldom, and that with this p-value
_ALONE: Final = (0.6, 0.6)  # one origin: at least so much of the excess with at most so much of the labels,
_ALSO: Final = float(np.log(10))  # while no other origin's bets have won that much


class FlipQuestion:
    """Claims, whom to ask about which of them, and what the answers amount to; ``bets`` say where flips are suspected.

    Flips that answers have confirmed 20 to 1, and that are beyond noise at the budget for alarms, stay confirmed
    (Wald's sequential test stops where it first crosses). Beyond noise at the budget for asking alone, or where the one
    origin that differs is only likely to have labelled otherwise before, they are ``tentative``.
    """

    def __init__(self, schema: Schema, cells: Cells, bets: FlipBets, parameters: Parameters, budget: Budget) -> None:
        self._schema, self._cells, self._bets = schema, cells, bets
        self._parameters, self._budget = parameters, budget
        self._claims = Claims.none()
        self._verdicts = Verdicts(parameters.false_poisoned, parameters.false_honest, parameters.claims)
        self._asked: list[str] = []
        self._open = 0  # labels asked for in the question that is open
        self._convicted: float | None = None
        self.tentative = False
        self.doubt_about = ""
        self._unheard = 0  # windows with a question and fewer answers than could decide

    def hear(self, labels: Labels) -> None:
        """Enter trusted labels of events about which there is a claim."""
        self._verdicts.take(self._claims, labels)

    def wait(self) -> None:
        """A window has passed."""
        self._unheard += bool(self._asked) and len(self._verdicts.sessions) < FEWEST

    def close(self) -> None:
        """Nothing is suspected any more: a next question has a budget of its own."""
        self._open = 0
        self._unheard = 0

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
        if not self._verdicts.sessions:
            return truth
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
        if not self._verdicts.sessions:
            return 0.0, 0, 0
        claims, rows = self._rows_of_claims()
        rho, noise = self._bets.shares()
        top = self._top_claims(rows)
        looks = [top & self._by_loud(claims)] + ([top] if self._bets.foremost == "all" else [])
        here = max(self._verdicts.judged(rho, noise, set(claims.session[rows].tolist()))[0] for rows in looks)
        everywhere, answers, false = self._verdicts.judged(rho, noise)
        changed = self._changed() if here >= DECISIVE else 0.0
        confirmed = here >= DECISIVE and changed >= _LIKELY
        self.doubt_about = "noise" if changed >= _CHANGED else "labeller"
        if confirmed and changed >= _CHANGED and self._beyond(self._budget.alarm):
            self._convicted = max(self._convicted or 0.0, here)
        self.tentative = self._convicted is None and confirmed and self._beyond(self._budget.ask)
        if self._convicted is not None or self.tentative:
            return max(self._convicted or 0.0, here), answers, false
        least = -np.inf if false <= _MOST_FALSE * answers else -_SHORT
        return float(np.clip(here if here > 0 else everywhere, least, _SHORT)), answers, false

    def _beyond(self, votes: float) -> bool:
        """Whether what speaks for flips is beyond what noise reaches once in so many votes."""
        return bool(self._bets.log_r + np.log(self._parameters.untrusted) >= np.log(votes))

    def _top_claims(self, rows: Ints) -> Bools:
        """Claims in the top cell since flips seem to have begun there."""
        held = self._bets.rows
        return np.asarray((held.cells[rows] == self._bets.cell).any(axis=1) & (held.number[rows] >= self._bets.since))

    def _by_loud(self, claims: Claims) -> Bools:
        """Claims of sources and origins whose own bets have won; all of them where nobody's have."""
        sources, origins = self._bets.loud(_LOUD)
        loud = np.isin(claims.source, [n for n, _ in sources]) | np.isin(claims.origin, [n for n, _ in origins])
        return loud if sources or origins else np.ones(len(claims), np.bool_)

    def _one_origin(self) -> str | None:
        """The origin that gave most excess contradictions of the top cell but not most labels, if there is one.

        Or whose own bets have won most there, while no other origin's have.
        """
        labels, excess = self._bets.by_origin()
        if np.count_nonzero(labels) < 2 or not excess.sum():  # noqa: PLR2004 - one origin has nothing to differ from
            return None
        top = int(np.argmax(excess))
        name = self._bets.origin_slots.names[top]
        alone = excess[top] >= _ALONE[0] * excess.sum() or self._bets.foremost == f"origin:{name}"
        others = [n for n, _ in self._bets.loud(_ALSO)[1] if n != name]
        return name if alone and labels[top] <= _ALONE[1] * labels.sum() and not others else None

    def _changed(self) -> float:
        """Log e-value that the one origin that differs in part of a class once labelled otherwise; else infinity."""
        origin = self._one_origin()
        if origin is None or self._bets.differs(origin) > _RUBRIC:
            return float("inf")
        return self._bets.changed(origin)

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

    def _unvetted(self) -> tuple[float, bool]:
        """How far others second what is claimed, and whether that alone must do: nobody answers, hardly anyone does."""
        share, p = self._bets.seconded()
        seldom = share <= _FEW_SECOND[0] and p <= _FEW_SECOND[1]
        few = self._unheard >= _PATIENCE and len(self._verdicts.sessions) < FEWEST
        few = few and not np.any(self.truth() == TRUE)
        return share, few and seldom and self._changed() >= _LIKELY and self._beyond(self._budget.alarm)

    def _in_top(self) -> Claims:
        claims, rows = self._rows_of_claims()
        return claims.take(self._top_claims(rows))

    def facts(self, answers: int, false: int) -> dict[str, Any]:
        """What the verdict reads."""
        claims, classes = self._in_top(), self._schema.classes
        share, unvetted = self._unvetted()
        pairs = Counter(zip(claims.g_class.tolist(), claims.label.tolist(), strict=True))
        facts: dict[str, Any] = {
            "scope": self._cells.names[self._bets.cell],
            "asked": len(self._asked),
            "tentative": self.doubt_about if self.tentative else "",
            "foremost": self._bets.foremost,
            "seconded": round(share, 3),
            "unvetted": unvetted,
            "reopened": self.tentative and answers < len(self._asked),
            "ask_limit": self._parameters.asked,
            "false": false,
            "true": answers - false,
            "disputed": self._verdicts.disputed,
            "opposed_origins": list(self._verdicts.opposed(*self._bets.shares())),
            "origins": dict(Counter(claims.origin.tolist()).most_common(5)),
            "one_origin": self._one_origin(),
            "since_first_label": self._changed() < _LIKELY,
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
            "unheard": self._unheard,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._claims = Claims.restored(state["claims"])
        self._verdicts.restore(state["verdicts"])
        self._asked, self._open = list(state["asked"]), int(state["open"])
        self._unheard = int(state["unheard"])
        self._convicted = None if state["convicted"] is None else float(state["convicted"])


def _not_of_one(picked: list[int], order: Ints, source: Strings) -> list[int]:
    """The picked rows; if all are of one source, the last gives way to the best of another."""
    if len(picked) < 2 or len(set(source[picked].tolist())) > 1:  # noqa: PLR2004 - one is always of one source
        return picked
    others = [row for row in order.tolist() if source[row] != source[picked[0]]]
    return [*picked[:-1], *others[:1]] if others else picked
