"""Feedback labels against what the last known good model says, for trusted and untrusted origins apart."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from detectors.answers import DECISIVE
from detectors.batch import Floats, Ints, Labels, Reference, Window
from detectors.evidence import Ask, Budget, Contributor, Detector, Evidence, Implicated, State
from detectors.label_claims import Claims, Verdicts
from detectors.label_scopes import FAMILIES, Scopes
from detectors.margins import certainty, log_scores
from detectors.sequential import RateMonitor, as_e_value, log_mean, session_mean, sessions_of


@dataclass(frozen=True, slots=True)
class Parameters:
    """What counts as a contradiction, and what honest labellers are allowed.

    A label contradicts where it lies ``quantile`` deep (of the reference's labels) under g's class, at least ``floor``
    times the median margin of g. ``noise`` is the share of honestly wrong labels to allow for. ``level`` and ``prior``:
    see `Scopes`. ``regions``, ``sources``, ``origins``: slots. Untrusted labels carry ``untrusted`` of the weight.
    ``asked``, ``batch``: labels asked for at most, and in one window. A claim is false with ``false_poisoned`` or
    ``false_honest``. ``claims`` are kept; ``memory`` sessions are remembered as having voted; ``forgetting`` discounts
    counts with every batch of labels. Where no model file scores the reference, a contradiction is a label to which the
    scores as served give odds of ``unscored_strength`` (natural logarithm) against, and ``unscored_error`` is the
    assumed rate of these.
    """

    quantile: float = 0.995
    floor: float = 0.1
    noise: float = 0.02
    level: float = 0.95
    prior: float = 60.0
    regions: int = 12
    sources: int = 24
    origins: int = 8
    untrusted: float = 0.7
    asked: int = 16
    batch: int = 8
    false_poisoned: float = 0.9
    false_honest: float = 0.1
    claims: int = 256
    memory: int = 20_000
    forgetting: float = 0.95
    fewest: int = 100
    unscored_strength: float = 2.2
    unscored_error: float = 0.03

    def __post_init__(self) -> None:
        for name in ("quantile", "noise", "level", "untrusted", "forgetting", "unscored_error"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")
        if not 0 < self.false_honest < self.false_poisoned < 1:
            raise ValueError("need 0 < false_honest < false_poisoned < 1: poisoners lie more often")
        if self.floor < 0 or self.prior < 0:
            raise ValueError("floor and prior must not be negative")
        counts = (
            self.regions,
            self.sources,
            self.origins,
            self.asked,
            self.batch,
            self.claims,
            self.memory,
            self.fewest,
        )
        if min(counts) < 1:
            raise ValueError(f"counts must be at least 1, got {counts}")


class LabelAgreement(Detector):
    """Labels that deeply contradict LKG, beyond the reference's rate and honest noise, in any of many scopes.

    Strength of a contradiction: log g[its class] - log g[label]. A session votes with the share of its labels that are
    stronger than the threshold, in every scope that it belongs to (`Scopes`). Statistic: the weighted mean of the
    Shiryaev-Roberts bets of all scopes (`RateMonitor`; Shin, Ramdas & Rinaldo 2022), untrusted origins and trusted ones
    apart. Null: in each scope the rate is at most its bound on the reference plus ``noise``. False positives: an
    average run length of at least ``budget.alarm`` labelled sessions while that holds (it fails where honest labellers
    err more than ``noise`` in some scope, and where the concept moves: answers tell these from flips). Labels that were
    asked for are no random sample: they never vote.

    Past ``budget.ask`` in untrusted labels it asks whether the contradicting labels of the top scope are true
    (`Verdicts`): false ones speak for poisoning. ``trusted_excess``: trusted labels contradict LKG too, which only a
    moved concept does. Where g is missing the serving model stands in, which flips that were learned can fool.

    >>> LabelAgreement(Parameters(), Budget(), np.random.default_rng(0)).name
    'label_agreement'
    """

    name: ClassVar[str] = "label_agreement"
    voters: ClassVar[Literal["sessions", "labels"]] = "labels"

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:
        self._parameters = parameters
        self._budget = budget
        self._seed = int(rng.integers(2**32))  # drawn once, so that a second fit finds the same regions

    def fit(self, reference: Reference) -> None:
        """Learn how often trusted labels contradict LKG on the reference, by scope."""
        p = self._parameters
        self._schema = reference.schema
        known = reference.take(reference.y >= 0)
        self._ready = len(known) >= p.fewest
        if not self._ready:
            return
        code, count = sessions_of(known.session)
        first = np.unique(code, return_index=True)[1]
        g = _judge(known.f, known.g)
        if np.isnan(g).any():  # no model file: its errors cannot be counted, and are assumed
            self._threshold = p.unscored_strength
            predicted, votes = known.y[first], np.full(count, p.unscored_error)
        else:
            strength = _strength(g, known.y)
            self._threshold = max(float(np.quantile(strength, p.quantile)), p.floor * float(np.median(certainty(g))))
            predicted = np.argmax(g[first], axis=1)
            votes = session_mean((strength > self._threshold).astype(np.float64), code, count)
        self._scopes = Scopes(
            reference.schema.classes, p.regions, p.sources, p.origins, prior=p.prior, level=p.level, noise=p.noise
        )
        self._scopes.fit(known.x[first], predicted, known.source[first], votes, self._seed)
        self._untrusted = RateMonitor(self._scopes.null)
        self._plain = slice(0, self._scopes.family("class").stop)  # trusted labels are few: all and by class
        self._trusted = RateMonitor(self._scopes.null[self._plain])
        self._claims = Claims.none(len(FAMILIES))
        self._verdicts = Verdicts(p.false_poisoned, p.false_honest, 8 * p.asked)
        self._voted: dict[int, None] = {}
        self._seen = np.zeros((2, len(self._scopes.names)))  # sessions and contradictions
        self._unknown: Counter[str] = Counter()
        self._asked: list[str] = []
        self._fired = self._suspects = False

    def observe(self, window: Window, labels: Labels | None) -> Evidence:  # noqa: ARG002 - labels carry all it needs
        """Let newly labelled sessions vote, enter answers, ask."""
        if not self._ready:
            note = "the reference has too few labelled events: give it its label column to compare feedback with it"
            return Evidence(self.name, "warming", threshold=self._budget.alarm, note=note)
        gauges: dict[str, float] = {}
        rate = 0.0
        if labels is not None and len(labels):
            rate = self._take(labels)
            gauges = _error_rates(labels)
        by_untrusted = log_mean(self._untrusted.log_r, self._scopes.weights)
        by_trusted = log_mean(self._trusted.log_r, self._scopes.weights[self._plain])
        share = self._parameters.untrusted
        log_e = log_mean([by_untrusted, by_trusted], [share, 1 - share])
        self._fired = self._fired or bool(log_e >= np.log(self._budget.alarm))
        ask_gate = np.log(self._budget.ask)
        self._suspects = self._suspects or self._fired or bool(by_untrusted + np.log(share) >= ask_gate)
        facts = {"untrusted_excess": bool(by_untrusted >= ask_gate), "trusted_excess": bool(by_trusted >= ask_gate)}
        asks = self._ask() if self._suspects and not facts["trusted_excess"] else ()
        return self._evidence(rate, log_e, asks, gauges, facts)

    def _take(self, labels: Labels) -> float:
        """Votes, claims and answers of a batch; returns the share of untrusted labels that contradict."""
        for name in labels.name[labels.label < 0].tolist():
            self._unknown[str(name)] += 1
        self._seen = self._seen * self._parameters.forgetting
        voting = (labels.label >= 0) & ~labels.vetted & self._new(labels)
        self._vote(labels.take(voting & labels.trusted), trusted=True)
        rate = self._vote(labels.take(voting & ~labels.trusted), trusted=False)
        self._verdicts.take(self._claims, labels)
        return rate

    def _new(self, labels: Labels) -> Any:
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

    def _vote(self, labels: Labels, *, trusted: bool) -> float:
        if not len(labels):
            return 0.0
        g = _judge(labels.f, labels.g)
        strength = _strength(g, labels.label)
        g_class = np.argmax(g, axis=1)
        code, count = sessions_of(labels.session)
        first = np.unique(code, return_index=True)[1]
        share = session_mean((strength > self._threshold).astype(np.float64), code, count)
        slots = self._scopes.members(labels.x[first], g_class[first], labels.source[first], labels.origin[first])
        votes = np.full((count, len(self._scopes.names)), np.nan)
        for column in slots.T:
            inside = np.flatnonzero(column >= 0)
            votes[inside, column[inside]] = share[inside]
        if trusted:
            self._trusted.update(votes[:, self._plain])
            return float(share.mean())
        self._untrusted.update(votes)
        self._seen = self._seen + np.stack([np.sum(~np.isnan(votes), axis=0), np.nansum(votes, axis=0)])
        self._claim(labels, code, slots, strength, g_class)
        return float(share.mean())

    def _claim(self, labels: Labels, code: Ints, slots: Ints, strength: Floats, g_class: Ints) -> None:
        """Keep the strongest contradiction of each session."""
        rows = np.flatnonzero(strength > self._threshold)
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
            slots[code[rows]],
        )
        self._claims = self._claims.joined(new, self._parameters.claims)

    def _top_scope(self) -> int:
        return int(np.argmax(self._untrusted.log_r + np.log(self._scopes.weights)))

    def _beyond_noise(self) -> float:
        """Share of the top scope's contradictions that honest noise does not explain."""
        sessions, contradictions = self._seen[:, self._top_scope()]
        return float(np.clip(1 - self._scopes.null[0] * sessions / max(contradictions, 1e-9), 0.2, 1.0))

    def _in_scope(self) -> Claims:
        return self._claims.take(np.any(self._claims.slots == self._top_scope(), axis=1))

    def _ask(self) -> tuple[Ask, ...]:
        p, classes = self._parameters, self._schema.classes
        wanted = min(p.batch, p.asked - len(self._asked))
        if wanted <= 0 or abs(self._verdicts.judged(self._beyond_noise())[0]) >= DECISIVE:
            return ()
        claims = self._in_scope()
        known = set(self._asked) | self._verdicts.sessions
        order = np.argsort(-claims.strength, kind="stable").tolist()
        rows = [i for i in order if str(claims.session[i]) not in known][:wanted]
        self._asked += [str(claims.session[i]) for i in rows]
        return tuple(
            Ask(
                str(claims.id[i]),
                f"{claims.origin[i]} labels it {classes[claims.label[i]]}; the last known good model is sure that it "
                f"is {classes[claims.g_class[i]]}. Which is true?",
            )
            for i in rows
        )

    def _evidence(
        self, rate: float, log_e: float, asks: tuple[Ask, ...], gauges: dict[str, float], facts: dict[str, Any]
    ) -> Evidence:
        llr, answers, false = self._verdicts.judged(self._beyond_noise())
        if self._suspects:
            facts |= self._facts(answers, false)
        if self._unknown:
            facts["unknown_classes"] = dict(self._unknown.most_common(10))
        heard = bool(np.isfinite(np.concatenate([self._untrusted.log_r, self._trusted.log_r])).any())
        return Evidence(
            self.name,
            "fired" if self._fired else "ok" if heard else "warming",
            score=rate,
            threshold=self._budget.alarm,
            e_value=as_e_value(log_e),
            top=self._contributors() if self._suspects else (),
            suspects=self._suspects,
            asks=asks,
            llr=llr if self._suspects and answers else None,
            answers=answers,
            implicated=self._implicated() if self._suspects else Implicated(),
            gauges=gauges,
            facts=facts,
            note="" if heard else "no label has been joined with an event yet",
        )

    def _facts(self, answers: int, false: int) -> dict[str, Any]:
        claims, classes = self._in_scope(), self._schema.classes
        pairs = Counter(zip(claims.g_class.tolist(), claims.label.tolist(), strict=True))
        facts: dict[str, Any] = {
            "scope": self._scopes.names[self._top_scope()],
            "asked": len(self._asked),
            "ask_limit": self._parameters.asked,
            "false": false,
            "true": answers - false,
            "origins": dict(Counter(claims.origin.tolist()).most_common(5)),
            "one_origin": self._one_origin(),
        }
        if pairs:
            (predicted, labelled), _ = pairs.most_common(1)[0]
            facts["from_class"], facts["to_class"] = classes[predicted], classes[labelled]
        return facts

    def _one_origin(self) -> str | None:
        """The origin that gave at least 80 % of the contradictions but at most 60 % of the labels, if there is one."""
        slots = self._scopes.family("origin")
        sessions, contradictions = self._seen[:, slots]
        if np.count_nonzero(sessions) < 2 or not contradictions.sum():  # noqa: PLR2004 - one origin has nothing to differ from
            return None
        top = int(np.argmax(contradictions))
        alone = contradictions[top] >= 0.8 * contradictions.sum() and sessions[top] <= 0.6 * sessions.sum()
        return self._scopes.names[slots.start + top].removeprefix("origin:") if alone else None

    def _contributors(self) -> tuple[Contributor, ...]:
        logs = self._untrusted.log_r
        order = [i for i in np.argsort(-logs, kind="stable").tolist() if logs[i] > 0][:5]
        return tuple(Contributor(self._scopes.names[i], float(logs[i])) for i in order)

    def _implicated(self) -> Implicated:
        """Sources and origins whose own bets crossed the asking budget; labels that were claimed there."""
        loud = [
            n for n, r in zip(self._scopes.names, self._untrusted.log_r, strict=True) if r >= np.log(self._budget.ask)
        ]
        claims, classes = self._in_scope(), self._schema.classes
        return Implicated(
            sources=tuple(n.removeprefix("source:") for n in loud if n.startswith("source:")),
            origins=tuple(n.removeprefix("origin:") for n in loud if n.startswith("origin:")),
            labels=tuple(sorted({classes[c] for c in claims.label.tolist()})),
            events=tuple(claims.id[-100:].tolist()),
        )

    def state(self) -> State:
        """Bets, slots, claims, answers and counts."""
        if not self._ready:
            return {}
        return {
            "untrusted": self._untrusted.state(),
            "trusted": self._trusted.state(),
            "scopes": self._scopes.state(),
            "claims": self._claims.state(),
            "verdicts": self._verdicts.state(),
            "voted": np.array(list(self._voted), np.int64),
            "seen": self._seen.copy(),
            "unknown": dict(self._unknown),
            "asked": list(self._asked),
            "fired": self._fired,
            "suspects": self._suspects,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        if not self._ready:
            return
        self._untrusted.restore(state["untrusted"])
        self._trusted.restore(state["trusted"])
        self._scopes.restore(state["scopes"])
        self._claims = Claims.restored(state["claims"])
        self._verdicts.restore(state["verdicts"])
        self._voted = dict.fromkeys(np.asarray(state["voted"]).tolist())
        self._seen = np.array(state["seen"], np.float64)
        self._unknown = Counter(state["unknown"])
        self._asked = list(state["asked"])
        self._fired, self._suspects = bool(state["fired"]), bool(state["suspects"])


def _judge(f: Floats, g: Floats) -> Floats:
    """LKG's scores, the serving model's where there are none."""
    return np.asarray(np.where(np.isnan(g).any(axis=1, keepdims=True), f, g), np.float64)


def _strength(g: Floats, label: Ints) -> Floats:
    """How much surer g is of its own class than of the label, as a difference of logs; 0 where they agree."""
    logs = log_scores(g)
    return np.asarray(logs.max(axis=1) - logs[np.arange(len(g)), label], np.float64)


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
