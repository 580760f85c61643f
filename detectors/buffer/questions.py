"""Questions about rows of a retraining buffer: were they given false labels? Trusted labellers answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from detectors.asking.answers import DECISIVE, FEWEST, weighed
from detectors.batch import Bools, Buffer, Floats, Ints, Reference, Scorer, Strings
from detectors.buffer.company import without_company
from detectors.buffer.contradictions import Contradictions, contradictions
from detectors.buffer.label_excess import Allowance, excesses
from detectors.buffer.label_scan import Scan, Slice, scan
from detectors.buffer.swap_test import swap_gap
from detectors.buffer.traced import Traced
from detectors.buffer.watch_list import Watched
from detectors.nulls.itemsets import Item, Itemset, Mining, mine
from detectors.schema import Schema
from detectors.sequential import sessions_of

DISPUTED: Final = -2
"""Answer about a row that trusted labellers contradict each other about: it counts for neither side."""

_MOSTLY: Final = 0.8
_SAME: Final = 0.5  # slices that share this much of the smaller one's rows are one question
_MOSTLY_NOISE: Final = 0.5  # a slice of which honest noise explains more than this is none
_SLIPS: Final = 0.1  # of few rows with honest labels, those that are found false: labellers err, and so do we
_NATURAL: Final = 0.01  # values that this share of the reference's other rows carries are no trigger


@dataclass(frozen=True, slots=True)
class Question:
    """Rows that share values (or a source or origin) and a label that last known good contradicts.

    ``rows`` are in the order in which they are asked about: one of every session first, sources in turn, else at random
    (the rows that contradict most are errors more often than the others). ``outside``
    is the share of the reference's rows that g puts in another class and that carry the values. ``noise`` is the share
    of ``rows`` that honest error explains.
    """

    label: int | None
    rows: Ints
    log_p: float
    sessions: int
    expected: float
    itemset: Itemset | None = None
    outside: float = 1.0
    scope: str = ""
    name: str = ""
    noise: float = 0.0
    swap_gap: float | None = None

    @property
    def few(self) -> bool:
        """Whether a test has found them, in so few sessions that an honest labeller may have mistaken them."""
        return self.log_p < 0 and self.sessions <= FEWEST

    @property
    def kind(self) -> str:
        """What it is if its labels are false."""
        trigger = self.itemset is not None and self.outside <= _NATURAL
        return "backdoor" if trigger and (self.swap_gap is None or self.swap_gap > 0) else "label_flip"


def questions(
    buffer: Buffer,
    reference: Reference,
    options: Scan,
    mining: Mining,
    allowance: Allowance,
    level: float,
    most: int,
    rng: np.random.Generator,
) -> list[Question]:
    """What is suspicious in the buffer, strongest first: slices, then scopes with too many contradictions."""
    found: list[Question] = []
    log_level = float(np.log(level))
    for question in sorted(_slices(buffer, reference, options, mining, rng), key=lambda q: q.log_p):
        if question.log_p <= log_level and len(found) < most and not asked_already(question, found):
            found.append(question)
    for excess in excesses(buffer, reference, allowance):
        rows = _in_turn(rng.permutation(excess.rows), buffer.session, buffer.source)
        question = Question(
            None, rows, excess.log_p, excess.sessions, excess.expected,
            scope=excess.scope, name=excess.name, noise=min(1.0, excess.expected / max(excess.sessions, 1)),
        )  # fmt: skip
        if excess.log_p <= log_level and len(found) < most and not asked_already(question, found):
            found.append(question)
    return found


def _slices(
    buffer: Buffer, reference: Reference, options: Scan, mining: Mining, rng: np.random.Generator
) -> Iterator[Question]:
    suspects = contradictions(buffer, reference, 0.1, rng)
    plain = {suspect.label: suspect for suspect in suspects if not suspect.learned}
    for suspect in suspects:
        own = np.arange(len(suspect.rows))
        for one in scan(buffer.x[suspect.rows], suspect.flagged, suspect.rate, own, options, rng):
            rows = suspect.every[one.carries(buffer.x[suspect.every])]
            carriers = buffer.x[_of_each(rows, buffer.session)]
            itemset = _closure(one, carriers, reference, suspect.label, mining)
            others = reference.x[np.argmax(reference.g, axis=1) != suspect.label]
            itemset = _without_company(itemset, carriers, reference, suspect.label, rng)
            outside = float(itemset.carries(others).mean()) if len(others) else 1.0
            order = _in_turn(rng.permutation(rows), buffer.session, buffer.source)
            noise = _noise(one.carries(buffer.x[plain[suspect.label].rows]), plain[suspect.label])
            yield Question(suspect.label, order, one.log_p, one.sessions, one.expected, itemset, outside, noise=noise)


def _noise(carries: Bools, plain: Contradictions) -> float:
    """The share of the contradicting sessions that honest noise explains, learned or not.

    Where the version errs by itself it agrees with every noisy label, so that noise alone looks learned there.
    """
    flagged = int(np.sum(carries & plain.flagged))
    return min(1.0, plain.expected(carries) / flagged) if flagged else 1.0


def _closure(one: Slice, carriers: Floats, reference: Reference, label: int, mining: Mining) -> Itemset:
    """All that the carriers share and other rows of the classes that g gives them do not; at least the items found."""
    others = reference.x[np.argmax(reference.g, axis=1) != label]
    whole = mine(carriers, others, carriers[:0], reference.x, mining)
    if whole is not None and whole.confident:
        return whole
    items = tuple(_bounded(item, carriers) for item in one.items)
    share = float(np.mean(one.carries(others))) if len(others) else 0.0
    return Itemset(items, 1.0, share, len(carriers), 1.0, confident=False)


def _without_company(
    itemset: Itemset, carriers: Floats, reference: Reference, label: int, rng: np.random.Generator
) -> Itemset:
    """See `without_company`; look-alikes are rows of the reference that g puts in other classes than the label."""
    others = reference.x[np.argmax(reference.g, axis=1) != label]
    categorical = np.array([f.kind == "categorical" for f in reference.schema.features])
    return without_company(itemset, carriers, others, categorical, rng)


def _bounded(item: Item, carriers: Floats) -> Item:
    """A range with ends, so that it has a middle."""
    if item.exact:
        return item
    column = carriers[:, item.feature]
    return Item(item.feature, float(np.nanmin(column)), float(np.nanmax(column)))


def about_watched(
    watched: Sequence[Watched],
    buffer: Buffer,
    reference: Reference,
    found: Sequence[Question],
    most: int,
    rng: np.random.Generator,
) -> list[Question]:
    """Questions about rows that carry an itemset of the watch list under its label, unless they are asked about."""
    made: list[Question] = []
    for each in watched:
        rows = np.flatnonzero((buffer.y == each.label) & each.itemset.carries(buffer.x))
        others = reference.x[np.argmax(reference.g, axis=1) != each.label]
        question = Question(
            each.label,
            _in_turn(rng.permutation(rows), buffer.session, buffer.source),
            0.0,
            sessions_of(buffer.session[rows])[1],
            0.0,
            each.itemset,
            float(each.itemset.carries(others).mean()) if len(others) else 1.0,
            swap_gap=each.gap,
        )
        if len(made) < most and len(rows) and not asked_already(question, (*found, *made)):
            made.append(question)
    return made


def about_traced(traced: Traced, buffer: Buffer, reference: Reference, rng: np.random.Generator) -> Question:
    """A question about the buffer's rows that carry an itemset of the stream."""
    others = reference.x[np.argmax(reference.g, axis=1) != traced.label]
    outside = float(traced.itemset.carries(others).mean()) if len(others) else 1.0
    rows = _in_turn(rng.permutation(traced.rows), buffer.session, buffer.source)
    return Question(traced.label, rows, traced.log_p, traced.sessions, traced.expected, traced.itemset, outside)


def asked_already(question: Question, found: Sequence[Question]) -> bool:
    """Whether one of those is about mostly the same rows."""
    return any(_same(question, q) for q in found)


def better_named(
    question: Question, watched: Sequence[Watched], buffer: Buffer, reference: Reference, rng: np.random.Generator
) -> Question:
    """The same with the itemset of the watch list that most of its rows carry, where that moves the version more."""
    for each in watched:
        carried = each.label == question.label and each.itemset.carries(buffer.x[question.rows]).mean() >= _MOSTLY
        if carried and each.gap > (question.swap_gap or 0.0):
            itemset = _without_company(each.itemset, buffer.x[question.rows], reference, each.label, rng)
            return replace(question, itemset=itemset, swap_gap=each.gap)
    return question


def with_swap(question: Question, reference: Reference, score_f: Scorer, score_g: Scorer, rows: int) -> Question:
    """The same with the swap test: share of reference rows of other classes that its values bring f, less g, to it."""
    if question.itemset is None or question.label is None:
        return question
    gap = swap_gap(question.itemset, question.label, reference, score_f, score_g, rows)
    return replace(question, swap_gap=gap)


def _of_each(rows: Ints, session: Strings) -> Ints:
    """The first of the rows in every session."""
    code, _ = sessions_of(session[rows])
    return np.asarray(rows[np.unique(code, return_index=True)[1]])


def _in_turn(rows: Ints, session: Strings, source: Strings) -> Ints:
    """The rows with one of each session first, and sources in turn, else in their order."""
    code, _ = sessions_of(session[rows])
    round_of_session = _occurrence(code)
    order = np.lexsort((np.arange(len(rows)), round_of_session))
    named = np.unique(source[rows[order]], return_inverse=True)[1]
    turn = _occurrence(np.asarray(named) + len(rows) * round_of_session[order])
    return np.asarray(rows[order][np.lexsort((turn, round_of_session[order]))])


def _occurrence(code: Ints) -> Ints:
    """How often each value occurred before, in order.

    >>> _occurrence(np.array([5, 7, 5, 5])).tolist()
    [0, 0, 1, 2]
    """
    seen: dict[int, int] = {}
    out = []
    for c in code.tolist():
        out.append(seen.get(c, 0))
        seen[c] = out[-1] + 1
    return np.array(out, np.int64)


def _same(one: Question, other: Question) -> bool:
    shared = len(np.intersect1d(one.rows, other.rows))
    return shared >= _SAME * min(len(one.rows), len(other.rows))


def judged(
    question: Question, buffer: Buffer, answers: Mapping[str, int], false_poisoned: float, false_honest: float
) -> tuple[float, int, int]:
    """Log likelihood ratio of poisoning against honest change, number of sessions answered, in how many it is false.

    Rows of a session repeat each other and have one vote together: what most answers about them say. With
    rho = 1 - noise, a label is false with probability .5 (1 - rho) + rho p, p by hypothesis; few sessions, which chance
    does not bring together, are either news or not. Answers that are disputed, or name a class that the model does not
    know, do not count. Fewer than `FEWEST` sessions (or all that there are) decide nothing.
    """
    votes = _votes(question, buffer, answers)
    false, count = sum(vote < 0 for vote in votes), len(votes)
    noise, rho = 0.5 * question.noise, 1 - question.noise
    poisoned, honest = noise + rho * false_poisoned, noise + rho * (_SLIPS if question.few else false_honest)
    llr = false * np.log(poisoned / honest) + (count - false) * np.log((1 - poisoned) / (1 - honest))
    enough = min(FEWEST, sessions_of(buffer.session[question.rows])[1])
    return weighed(float(llr), FEWEST if count >= enough else count), count, false


def _votes(question: Question, buffer: Buffer, answers: Mapping[str, int]) -> list[int]:
    """Of each session with answers: how many more say that the label is true than false. Undecided ones are left out.

    One answer counts once, also where rows share an id.
    """
    heard: set[str] = set()
    votes: Counter[int] = Counter()
    code, _ = sessions_of(buffer.session[question.rows])
    for row, session in zip(question.rows.tolist(), code.tolist(), strict=True):
        ident = str(buffer.id[row])
        if ident not in heard and answers.get(ident, DISPUTED) >= 0:
            heard.add(ident)
            votes[session] += 1 if answers[ident] == int(buffer.y[row]) else -1
    return [vote for vote in votes.values() if vote]


def shares(judged: Sequence[tuple[float, int, int]], left: int) -> list[tuple[int, int]]:
    """How many of ``left`` rows to ask about for which question, by number, those nearest to a decision first.

    ``judged`` as by `judged`. A question with answers gets as many as decide it if they go on as they did, so that
    answers are not spread over many questions none of which they decide; those without get the same each.

    >>> shares([(0.0, 0, 0), (0.0, 0, 0), (4.0, 8, 8)], 8)
    [(0, 4), (1, 4)]
    >>> shares([(0.6, 1, 1), (1.3, 2, 2), (0.0, 0, 0)], 8)
    [(1, 3), (0, 4), (2, 2)]
    """
    open_ones = [(i, abs(llr), answers) for i, (llr, answers, _) in enumerate(judged) if abs(llr) < DECISIVE]
    each = max(1, left // max(len(open_ones), 1))
    ordered = sorted(open_ones, key=lambda question: (-question[1], question[0]))
    return [(i, int(np.ceil((DECISIVE - llr) * answers / llr)) if llr else each) for i, llr, answers in ordered]


def triggers(convicted: Sequence[Question], schema: Schema) -> dict[str, Any]:
    """The values of the first finding, and those of others of its kind: there may be two campaigns."""
    of_a_kind = [q for q in convicted if q.kind == convicted[0].kind == "backdoor"] or convicted[:1]
    named = [q.itemset.named(schema) for q in of_a_kind if q.itemset is not None]
    return {name: value for values in reversed(named) for name, value in values.items()}


def shown(question: Question, reference: Reference, llr: float, answers: int, false: int) -> dict[str, Any]:
    """The question as a finding for people and gauges."""
    schema = reference.schema
    features = question.itemset.named(schema) if question.itemset is not None else {}
    return {
        "label": None if question.label is None else schema.classes[question.label],
        "features": features,
        "scope": question.scope,
        "name": question.name,
        "rows": len(question.rows),
        "sessions": question.sessions,
        "expected": question.expected,
        "log_p": question.log_p,
        "swap_flip_gap": question.swap_gap,
        "answers": answers,
        "false": false,
        "llr": llr,
    }
