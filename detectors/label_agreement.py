"""Feedback labels against what the last known good model says, for trusted and untrusted origins apart."""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Any, ClassVar, Final, Literal

import numpy as np

from detectors.asking.answers import DECISIVE
from detectors.batch import Bools, Floats, Ints, Labels, Reference, Window
from detectors.evidence import Budget, Detector, Evidence, Implicated, State
from detectors.labels.claims import UNKNOWN
from detectors.labels.ledger import FlipBets, Sessions
from detectors.labels.noise import AssumedErrorRate, ErrorRate
from detectors.labels.parameters import Parameters
from detectors.labels.question import FlipQuestion
from detectors.labels.scopes import Cells
from detectors.nulls.margins import certainty
from detectors.sequential import as_e_value, log_mean, session_mean, sessions_of

_APPROVED: Final = float(np.log(20))  # the log e-value from which on trusted labels approve of a contradiction


class LabelAgreement(Detector):
    """Labels that contradict LKG beyond its own errors and honest noise: somewhere, by somebody, from some time on.

    A session's labellers vote together (does everybody contradict g?), and each alone (does he, while his colleagues
    side with g?); a vote is a product of shares of their labels. Null: given the past, all contradict with probability
    e + (1 - 2e) q at most. e is how often g errs at this certainty in this region (`ErrorRate`, on the reference). q is
    how often its labellers err: each for himself, but a tenth of honest errors is everybody's (`labellers.SHARED`). A
    labeller's own rate is the worse of his source's and his origin's: a posterior mean over the labels before this one
    and a prior (`noise_ahead`), so no history is needed, and never above 6%: no stream, however slow, teaches a higher
    one. Bets against it: `FlipBets`, over cells of g's classes and regions, everybody, some sources or some origins,
    four strengths, and starts. Trusted and untrusted labels apart, in a fixed mixture R.

    False positives: while the null holds, R reaches ``budget.alarm`` once in that many votes at most (average run
    length; a vote is a session, seen or labelled; Shin, Ramdas & Rinaldo 2022, arXiv 2203.03532). The null is an
    estimate: it holds on average over labellers as the prior describes them, where errors and noise of a source or
    origin are spread over its labels evenly. It fails where honest errors crowd in one region, exceed 6% or are shared
    by colleagues more often, and where the concept moves: answers tell these from flips.

    Past ``budget.ask`` it asks about the claims on which most was won, at most ``asked`` in one question. The truth
    takes the place of what was claimed, and true claims take doubt from others in their region. Flips are said where R
    still reaches ``budget.alarm`` and answers in the top cell say 20 to 1 that claims there are false; honest change
    where answers everywhere say 20 to 1 that they are true, and no more than a quarter is false. Where R still reaches
    ``budget.ask`` alone, flips are ``tentative``: a suspicion.

    Where one origin alone differs, another rubric looks the same (in 90% of a class at most), unless he once labelled
    otherwise: 20 to 1 (`rubric.log_e_changed`: P <= 1/20 for who always labelled so), or 3 to 1 for a suspicion. Below
    that nothing is decided, ``since_first_label`` says why; labels from before the campaign would decide it. A rubric
    that is new since yesterday is a change too.

    ``foremost``: whose bets won most; ``seconded``: how many of the others' labels in the same regions contradict as
    well (`company.seconded`). ``unvetted``: hardly anybody answers, one group's labels contradict, others do not second
    them (p <= .001 if all contradicted alike): a suspicion. An honest change at one source looks the same.

    ``trusted_excess``: trusted labels contradict LKG too. That is a moved concept, or a trusted origin that lies: it
    can acquit flips, and is seen only as this contradiction of g, and where another trusted origin answers otherwise
    (`Verdicts`: then nothing is decided). A labeller who errs at random is allowed for. Labels that were asked for are
    no random sample: they never vote. Where g is missing the serving model stands in, which learned flips can fool.

    Not seen: flips of fewer than about 9 sessions, however many are labelled; flips where g errs anyway or has no
    certainty; and random ones at a rate that honest noise has.

    >>> LabelAgreement(Parameters(), Budget(), np.random.default_rng(0)).name
    'label_agreement'
    """

    name: ClassVar[str] = "label_agreement"
    asks: ClassVar[bool] = True
    voters: ClassVar[Literal["sessions", "labels"]] = "labels"

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:
        self._parameters = parameters
        self._budget = budget
        self._seed = int(rng.integers(2**32))  # drawn once, so that a second fit finds the same regions

    def fit(self, reference: Reference) -> None:
        """Learn where and how often LKG errs on the reference."""
        p = self._parameters
        self._schema = reference.schema
        known = reference.take(reference.y >= 0)
        self._ready = len(known) >= p.fewest
        if not self._ready:
            return
        g = _judge(known.f, known.g)
        unscored = bool(np.isnan(g).any())
        g_class = known.y if unscored else np.argmax(g, axis=1)
        sessions = _by_session(np.zeros_like(g) if unscored else g, known.y, known.session)
        first = sessions.first
        self._cells = Cells(reference.schema, known.x[first], g_class[first], self._seed)
        region = self._cells.of(known.x[first], g_class[first])[:, -1]
        error: AssumedErrorRate | ErrorRate = AssumedErrorRate(p.unscored_error)
        if not unscored:
            error = ErrorRate(sessions.certainty, sessions.share, region, len(self._cells))
        self._untrusted = FlipBets(self._cells, error, p.sources, p.origins, p.size, p.starts)
        self._trusted = FlipBets(self._cells, error, 0, 0, p.size, p.starts)
        self._question = FlipQuestion(self._schema, self._cells, self._untrusted, p, self._budget)
        self._voted: dict[int, None] = {}
        self._unknown: Counter[str] = Counter()
        self._fired = self._suspects = False

    def observe(self, window: Window, labels: Labels | None) -> Evidence:
        """Let newly labelled sessions vote, enter answers, ask."""
        if not self._ready:
            note = "the reference has too few labelled events: give it its label column to compare feedback with it"
            return Evidence(self.name, "warming", threshold=self._budget.alarm, note=note)
        votes = len(set(window.batch.session[window.fresh].tolist()))
        for bets in (self._untrusted, self._trusted):
            bets.wait(votes)
        rate = self._take(labels) if labels is not None and len(labels) else 0.0
        share = self._parameters.untrusted
        log_e = log_mean([self._untrusted.log_r, self._trusted.log_r], [share, 1 - share])
        self._fired = self._fired or bool(log_e >= np.log(self._budget.alarm))
        self._question.wait()
        llr, answers, false = self._question.judged()
        suspicious = bool(self._untrusted.log_r + np.log(share) >= np.log(self._budget.ask))
        self._suspects = suspicious or self._fired or (self._suspects and answers > 0)
        if not suspicious:
            self._question.close()
        facts: dict[str, Any] = {
            "untrusted_excess": self._exceeds(self._untrusted),
            "trusted_excess": self._exceeds(self._trusted),
        }
        open_ = abs(llr) < DECISIVE or self._question.tentative
        asks = self._question.ask() if suspicious and open_ and not self._approved() else ()
        if self._suspects:
            facts |= self._question.facts(answers, false)
        if self._unknown:
            facts["unknown_classes"] = dict(self._unknown.most_common(10))
        heard = bool(np.isfinite([self._untrusted.log_r, self._trusted.log_r]).any())
        return Evidence(
            self.name,
            "fired" if self._fired else "ok" if heard else "warming",
            score=rate,
            threshold=self._budget.alarm,
            e_value=as_e_value(log_e),
            top=self._question.top() if self._suspects else (),
            suspects=self._suspects,
            asks=asks,
            llr=llr if self._suspects and answers else None,
            answers=answers,
            implicated=self._question.implicated() if self._suspects else Implicated(),
            gauges=_error_rates(labels) if labels is not None else {},
            facts=facts,
            note="" if heard else "no label has been joined with an event yet",
        )

    def _exceeds(self, bets: FlipBets) -> bool:
        return bool(bets.log_r >= np.log(self._budget.ask))

    def _approved(self) -> bool:
        """Trusted labels contradict LKG in the very cell in which untrusted ones do."""
        return self._exceeds(self._trusted) and self._trusted.cell == self._untrusted.cell

    def _take(self, labels: Labels) -> float:
        """Votes, claims and answers of a batch; returns the share of untrusted labels that contradict."""
        for name in labels.name[labels.label < 0].tolist():
            self._unknown[str(name)] += 1
        voting = (labels.label >= 0) & ~labels.vetted & self._new(labels)
        self._vote(labels.take(voting & labels.trusted), self._trusted)
        rate = self._vote(labels.take(voting & ~labels.trusted), self._untrusted)
        self._question.hear(labels)
        nothing = np.full(len(self._trusted.rows), UNKNOWN)
        self._trusted.weigh(nothing, np.ones(len(self._cells)))
        truth = self._question.truth()
        self._untrusted.weigh(truth, self._question.doubt(truth, self._trusted.contradictions(_APPROVED)))
        return rate

    def _new(self, labels: Labels) -> Bools:
        """Which labels belong to sessions that have not voted in an earlier batch; these are now remembered."""
        named = [
            s if s not in {"", "-"} else i for s, i in zip(labels.session.tolist(), labels.id.tolist(), strict=True)
        ]
        # a vote of each kind: untrusted labels must not use up the trusted vote of a session
        keys = [zlib.crc32(f"{t}:{s}".encode()) for t, s in zip(labels.trusted.tolist(), named, strict=True)]
        new = np.array([k not in self._voted for k in keys], np.bool_) & ~labels.vetted & (labels.label >= 0)
        self._voted.update(dict.fromkeys(k for k, n in zip(keys, new.tolist(), strict=True) if n))
        for _ in range(len(self._voted) - self._parameters.memory):
            del self._voted[next(iter(self._voted))]
        return new

    def _vote(self, labels: Labels, bets: FlipBets) -> float:
        if not len(labels):
            return 0.0
        g = _judge(labels.f, labels.g)
        g_class = np.argmax(g, axis=1)
        sessions = _by_session(g, labels.label, labels.session)
        if bets is self._trusted:
            bets.add(labels, g_class, sessions, np.full(len(bets.rows), UNKNOWN), np.ones(len(self._cells)))
        else:
            truth = self._question.truth()
            number = bets.add(
                labels, g_class, sessions, truth, self._question.doubt(truth, self._trusted.contradictions(_APPROVED))
            )
            self._question.claim(labels, g, g_class, number)
        return float(sessions.share.mean())

    def state(self) -> State:
        """Bets, claims, answers and counts."""
        if not self._ready:
            return {}
        return {
            "untrusted": self._untrusted.state(),
            "trusted": self._trusted.state(),
            "question": self._question.state(),
            "voted": np.array(list(self._voted), np.int64),
            "unknown": dict(self._unknown),
            "fired": self._fired,
            "suspects": self._suspects,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        if not self._ready:
            return
        self._untrusted.restore(state["untrusted"])
        self._trusted.restore(state["trusted"])
        self._question.restore(state["question"])
        self._voted = dict.fromkeys(np.asarray(state["voted"]).tolist())
        self._unknown = Counter(state["unknown"])
        self._fired, self._suspects = bool(state["fired"]), bool(state["suspects"])


def _judge(f: Floats, g: Floats) -> Floats:
    """LKG's scores, the serving model's where there are none."""
    return np.asarray(np.where(np.isnan(g).any(axis=1, keepdims=True), f, g), np.float64)


def _by_session(g: Floats, label: Ints, session: Any) -> Sessions:
    """One vote a session, whatever it is called: the share of its labels that contradict g."""
    code, count = sessions_of(session)
    first = np.unique(code, return_index=True)[1]
    wrong = (np.argmax(g, axis=1) != label).astype(np.float64)
    return Sessions(code, wrong, first, session_mean(certainty(g), code, count), session_mean(wrong, code, count))


def _error_rates(labels: Labels) -> dict[str, float]:
    """Share of the labels that f and g contradict, for trusted and untrusted origins."""
    known = labels.label >= 0
    gauges = {"labels": float(len(labels)), "unknown_labels": float(np.sum(~known))}
    for kind, rows in (("trusted", known & labels.trusted), ("untrusted", known & ~labels.trusted)):
        if not rows.any():
            continue
        for model, scores in (("f", labels.f), ("g", labels.g)):
            if not np.isnan(scores[rows]).any():
                wrong = np.argmax(scores[rows], axis=1) != labels.label[rows]
                gauges[f"{kind}_error_rate_{model}"] = float(wrong.mean())
    return gauges
