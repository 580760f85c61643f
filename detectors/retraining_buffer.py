"""The rows that the serving version was trained on: false labels and planted values are seen before they are used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from detectors.asking.answers import DECISIVE
from detectors.batch import Buffer, Labels, Reference, Window
from detectors.buffer.label_excess import Allowance
from detectors.buffer.label_scan import Scan
from detectors.buffer.questions import (
    DISPUTED,
    Question,
    about_traced,
    about_watched,
    asked_already,
    better_named,
    judged,
    questions,
    shares,
    shown,
    triggers,
    with_swap,
)
from detectors.buffer.traced import StreamPatterns, Traced
from detectors.buffer.watch_list import Watched, Watching, watch_list
from detectors.buffer.watched_events import WatchedEvents
from detectors.evidence import Ask, Budget, Detector, Evidence, Implicated, State
from detectors.nulls.itemsets import Itemset, Mining
from detectors.sequential import as_e_value


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is suspicious, and how to ask.

    A finding needs p <= ``level``; at most ``most`` are asked about, with ``asked`` labels of rows in all, ``batch`` at
    a time; rows of ``asked_watched`` itemsets of the watch list are asked about as well. A label in a finding is false
    with probability ``false_poisoned`` under poisoning, ``false_honest`` under honest change: a slice of honest rows
    may hold a share of noise. ``asked_traced`` itemsets of the stream are asked about at a time; ``level_traced`` is
    for all of them together. Answers about the watch list's events, ``asked`` at most, have f right with
    ``right_poisoned`` and ``right_honest``. After ``patience`` windows nobody waits for answers about rows.
    """

    level: float = 0.05
    most: int = 4
    asked: int = 16
    batch: int = 8
    asked_watched: int = 2
    asked_traced: int = 2
    level_traced: float = 0.05
    false_poisoned: float = 0.9
    false_honest: float = 0.45
    right_poisoned: float = 0.25
    right_honest: float = 0.7
    patience: int = 4
    scan: Scan = field(default_factory=Scan)
    mining: Mining = field(default_factory=Mining)
    allowance: Allowance = field(default_factory=Allowance)
    watching: Watching = field(default_factory=Watching)

    def __post_init__(self) -> None:
        if (
            not (0 < self.level < 1 and 0 < self.level_traced < 1)
            or min(self.most, self.asked, self.batch, self.patience) < 1
        ):
            raise ValueError("level and level_traced lie in (0, 1); most, asked, batch and patience must be at least 1")
        if not 0 < self.false_honest < self.false_poisoned < 1 or not 0 < self.right_poisoned < self.right_honest < 1:
            raise ValueError(
                "need 0 < false_honest < false_poisoned < 1 and 0 < right_poisoned < right_honest < 1: poison has "
                "false labels, and makes the serving version wrong"
            )


class RetrainingBuffer(Detector):
    """What the buffer itself gives away, without any trigger in the stream; trusted labels of its rows decide.

    Findings, each with a bound on p: itemsets over-represented among rows whose label contradicts last known good g
    (`label_scan.scan`; those that f has learned, and all), and sources or origins with more contradictions than honest
    error allows (`label_excess.excesses`). Null: contradicting labels are honest noise, which falls on rows of one g
    class and certainty whatever else they hold. False positives: each scan reports an itemset with probability at most
    ``level`` while that holds (measured: far fewer). Honest news raises findings too: its labels are true.

    Of each finding's rows a few labels are asked for (`Ask.of_buffer`). False .9 if poisoned, .45 if honest: a ratio of
    20 to 1 convicts or acquits. ``clean``: nothing was found, or all of it was acquitted. What true labels hide, or an
    unsure g, is on the watch list (`watch_list`): its rows are asked about too, and so are its hits in the stream
    (`WatchedEvents`). And what the events of the stream share on which f and g part is looked for among the rows
    (`StreamPatterns`), which finds poison of two or three sessions.
    Sources: Chernoff 1952; Kulldorff 1997 (scan statistics); Wald 1945.

    >>> RetrainingBuffer(Parameters(), Budget(), np.random.default_rng(0)).name
    'retraining_buffer'
    """

    name: ClassVar[str] = "retraining_buffer"
    asks: ClassVar[bool] = True

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:
        self._parameters = parameters
        self._budget = budget
        self._seed = int(rng.integers(2**32))  # drawn once, so that a second fit finds the same

    def fit(self, reference: Reference) -> None:
        """Scan the buffer: all that can be said of it without an answer."""
        p = self._parameters
        self._reference = reference
        self._buffer, self._blind = _usable(reference)
        self._questions: list[Question] = []
        self._asked: dict[str, int] = {}
        self._answers: dict[str, int] = {}
        self._convicted: dict[int, float] = {}
        self._windows = 0
        self._events: WatchedEvents | None = None
        self._patterns: StreamPatterns | None = None
        self._traced: list[Traced] = []
        self._swaps: list[float | None] = []  # of what was found, before the watch list named it better
        if self._buffer is not None:
            rng = np.random.default_rng(self._seed)
            self._questions = questions(self._buffer, reference, p.scan, p.mining, p.allowance, p.level, p.most, rng)
            self._swaps = [q.swap_gap for q in self._questions]
            self._patterns = StreamPatterns(self._buffer, reference, p.mining, p.level_traced)

    def vetted(self, rows: Mapping[str, int]) -> None:
        """Take trusted labels of rows that belong to a finding."""
        if self._buffer is not None:
            ours = {str(i) for q in self._questions for i in self._buffer.id[q.rows].tolist()}
            for ident, label in rows.items():
                if ident in ours and self._answers.setdefault(ident, label) != label:
                    self._answers[ident] = DISPUTED

    def observe(self, window: Window, labels: Labels | None) -> Evidence:
        """Ask about rows, weigh answers, and look for what is on the watch list."""
        if self._buffer is None:
            return Evidence(self.name, "warming" if self._blind else "ok", note=self._blind, facts={"seen": False})
        self._prepare(window)
        self._trace(window)
        asks = self._ask()
        if self._events is not None:
            asks += self._events.look(window, labels, self._budget)
        self._windows += 1
        return self._evidence(asks)

    def _prepare(self, window: Window) -> None:
        """The swap test and the watch list need both models, which come with a window."""
        if self._events is not None or self._buffer is None or window.score_f is None or window.score_g is None:
            return
        p, reference = self._parameters, self._reference
        rows = p.watching.rows
        self._questions = [with_swap(q, reference, window.score_f, window.score_g, rows) for q in self._questions]
        self._swaps = [q.swap_gap for q in self._questions]
        rng = np.random.default_rng([self._seed, 1])
        watched = watch_list(self._buffer, reference, window.score_f, window.score_g, p.scan, p.mining, p.watching, rng)
        self._watch(watched)

    def _watch(self, watched: list[Watched]) -> None:
        p = self._parameters
        if self._buffer is not None:
            rng = np.random.default_rng([self._seed, 2])
            self._questions = [better_named(q, watched, self._buffer, self._reference, rng) for q in self._questions]
            self._questions += about_watched(
                watched, self._buffer, self._reference, self._questions, p.asked_watched, rng
            )
        self._events = WatchedEvents(
            watched,
            self._reference,
            level=p.watching.level,
            right_poisoned=p.right_poisoned,
            right_honest=p.right_honest,
            asked=p.asked,
            batch=p.batch,
        )

    def _trace(self, window: Window) -> None:
        """Ask about rows that carry what the versions part on in the stream, where there are unlikely many of them."""
        if self._patterns is None:
            return
        for traced in self._patterns.look(window):
            own = self._judged()[len(self._questions) - len(self._traced) :]
            if sum(abs(llr) < DECISIVE for llr, _, _ in own) < self._parameters.asked_traced:
                self._follow(traced, window)

    def _follow(self, traced: Traced, window: Window | None = None) -> None:
        if self._buffer is None:
            return
        rng = np.random.default_rng([self._seed, 4, len(self._traced)])
        question = about_traced(traced, self._buffer, self._reference, rng)
        if asked_already(question, self._questions):
            return
        if window is not None and window.score_f is not None and window.score_g is not None:
            rows = self._parameters.watching.rows
            question = with_swap(question, self._reference, window.score_f, window.score_g, rows)
        self._traced.append(traced)
        self._questions.append(question)

    def _judged(self) -> list[tuple[float, int, int]]:
        """Of every question; a conviction stands."""
        p, buffer = self._parameters, self._buffer
        found = []
        for i, question in enumerate(self._questions if buffer is not None else []):
            assert buffer is not None  # noqa: S101 - there are no questions without it
            llr, answers, false = judged(question, buffer, self._answers, p.false_poisoned, p.false_honest)
            if llr >= DECISIVE:
                self._convicted.setdefault(i, llr)
            found.append((max(llr, self._convicted.get(i, llr)), answers, false))
        return found

    def _waiting(self) -> bool:
        """Whether answers are still to be expected."""
        late = self._windows - self._parameters.patience
        return any(at >= late for ident, at in self._asked.items() if ident not in self._answers)

    def _ask(self) -> tuple[Ask, ...]:
        """A batch of rows, divided over the questions that are open; the next one when it has been answered."""
        p, buffer = self._parameters, self._buffer
        left = min(p.batch, p.asked - len(self._asked))
        if buffer is None or left <= 0 or self._waiting():
            return ()
        asks: list[Ask] = []
        for number, count in shares(self._judged(), left):
            known = self._asked.keys() | self._answers.keys()
            rows: dict[str, int] = {}  # by id: rows may share one
            for row in self._questions[number].rows.tolist():
                rows.setdefault(str(buffer.id[row]), row)
            wanted = [(ident, row) for ident, row in rows.items() if ident not in known][: min(count, left - len(asks))]
            self._asked |= {ident: self._windows for ident, _ in wanted}
            asks += [Ask(ident, self._doubt(int(buffer.y[row]), row), of_buffer=True) for ident, row in wanted]
        return tuple(asks)

    def _doubt(self, label: int, row: int) -> str:
        assert self._buffer is not None  # noqa: S101 - only its rows are asked about
        classes = self._reference.schema.classes
        other = classes[int(np.argmax(self._buffer.g[row]))]
        return (
            f"a row of the training buffer is labelled {classes[label]}; is it? The last known good version is sure of "
            f"{other}, and rows like it are too many to be honest error."
        )

    def _evidence(self, asks: tuple[Ask, ...]) -> Evidence:
        verdicts = self._judged()
        events = self._events
        hits = events.judged() if events is not None else (0.0, 0, 0)
        caught = events is not None and events.convicted
        suspects = events is not None and events.suspects
        llr, answers = self._weight(verdicts, hits, suspects=suspects, caught=caught)
        strongest = min((q.log_p for q in self._questions), default=0.0)
        return Evidence(
            self.name,
            "fired" if self._convicted or caught else "ok",
            score=-strongest,
            threshold=-float(np.log(self._parameters.level)),
            e_value=as_e_value(events.log_e) if events is not None and events.watched else None,
            suspects=suspects,
            asks=asks,
            llr=llr,
            answers=answers,
            implicated=self._implicated(caught=caught),
            gauges={
                "findings": float(len(self._questions)),
                "watched": float(len(events.watched)) if events is not None else 0.0,
                "asked_rows": float(len(self._asked)),
                "answered_rows": float(len(self._answers)),
            },
            facts=self._facts(verdicts, caught=caught),
        )

    def _weight(
        self, verdicts: list[tuple[float, int, int]], hits: tuple[float, int, int], *, suspects: bool, caught: bool
    ) -> tuple[float | None, int]:
        """What counts: a conviction by rows, else what was answered about the watch list's hits."""
        if self._convicted:
            llr, answers, _ = max(verdicts)
            return llr, answers
        if caught:
            return max(hits[0], DECISIVE), hits[1]
        return (hits[0], hits[1]) if suspects and hits[1] else (None, 0)

    def _facts(self, verdicts: list[tuple[float, int, int]], *, caught: bool) -> dict[str, Any]:
        events = self._events
        open_ones = [abs(llr) < DECISIVE for llr, _, _ in verdicts]
        facts: dict[str, Any] = {
            "seen": True,
            "clean": all(llr <= -DECISIVE for llr, _, _ in verdicts) and not caught,
            "pending": any(open_ones) and self._waiting(),
            "convicted": bool(self._convicted) or caught,
            "asked": events.asked if events is not None else 0,
            "findings": [shown(q, self._reference, *v) for q, v in zip(self._questions, verdicts, strict=True)],
            "watched": [w.shown(self._reference) for w in events.watched] if events is not None else [],
        }
        if self._convicted:
            convicted = [self._questions[i] for i in sorted(self._convicted)]
            facts |= {"kind": convicted[0].kind, "to_class": self._class(convicted[0])}
            facts["few"] = all(question.few for question in convicted) and not caught
            facts["false"] = sum(verdicts[i][2] for i in self._convicted)
            facts["answered"] = sum(verdicts[i][1] for i in self._convicted)
            facts["rows"] = sum(len(question.rows) for question in convicted)
        elif caught and events is not None and (carried := events.carried()) is not None:
            facts |= {"kind": self._planted(carried), "to_class": self._reference.schema.classes[carried.label]}
        return facts

    def _planted(self, carried: Watched) -> str:
        """A backdoor where g contradicts the labels of most rows that carry the itemset, else clean-label poison."""
        assert self._buffer is not None  # noqa: S101 - its rows gave the itemset
        rows = (self._buffer.y == carried.label) & carried.itemset.carries(self._buffer.x)
        contradicted = np.argmax(self._buffer.g[rows], axis=1) != carried.label
        return "backdoor" if contradicted.any() and contradicted.mean() >= 0.5 else "clean_label"  # noqa: PLR2004 - most

    def _class(self, question: Question) -> str | None:
        return None if question.label is None else self._reference.schema.classes[question.label]

    def _implicated(self, *, caught: bool) -> Implicated:
        """Of convicted findings: values, label, sources and origins that hold most rows, and the rows' ids."""
        schema, buffer = self._reference.schema, self._buffer
        if self._convicted and buffer is not None:
            convicted = [self._questions[i] for i in sorted(self._convicted)]
            rows = np.concatenate([question.rows for question in convicted])
            labels = sorted({schema.classes[c] for c in buffer.y[rows].tolist()})
            return Implicated(
                features=triggers(convicted, schema),
                sources=_concentrated(buffer.source[rows].tolist()),
                origins=_concentrated(buffer.origin[rows].tolist()),
                labels=tuple(labels),
                events=tuple(buffer.id[rows][:100].tolist()),
            )
        if caught and self._events is not None and (carried := self._events.carried()) is not None:
            return Implicated(
                features=carried.itemset.named(schema),
                labels=(schema.classes[carried.label],),
                events=tuple(self._events.pool.id[:100].tolist()),
            )
        return Implicated()

    def state(self) -> State:
        """Questions asked, answers, convictions, and the watch list with what it saw."""
        events = self._events
        return {
            "asked": dict(self._asked),
            "answers": dict(self._answers),
            "convicted": {str(i): llr for i, llr in self._convicted.items()},
            "windows": self._windows,
            "swaps": list(self._swaps),
            "watched": [w.state() for w in events.watched] if events is not None else None,
            "events": events.state() if events is not None else None,
            "traced": [{"label": t.label, "itemset": t.itemset.state()} for t in self._traced],
            "swaps_traced": [q.swap_gap for q in self._questions[len(self._questions) - len(self._traced) :]],
            "patterns": self._patterns.state() if self._patterns is not None else None,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        if len(state["swaps"]) != len(self._questions):
            raise ValueError("the buffer is another one than before: its findings differ in number")
        self._asked = {str(i): int(at) for i, at in state["asked"].items()}
        self._answers = {str(i): int(label) for i, label in state["answers"].items()}
        self._convicted = {int(i): float(llr) for i, llr in state["convicted"].items()}
        self._windows = int(state["windows"])
        self._swaps = list(state["swaps"])
        self._questions = [replace(q, swap_gap=gap) for q, gap in zip(self._questions, self._swaps, strict=True)]
        if state["watched"] is not None:
            self._watch([Watched.restored(w) for w in state["watched"]])
            assert self._events is not None  # noqa: S101 - made in the line before
            self._events.restore(state["events"])
        if self._patterns is not None:
            self._patterns.restore(state["patterns"])
            for told, gap in zip(state["traced"], state["swaps_traced"], strict=True):
                traced = self._patterns.trace(Itemset.restored(told["itemset"]), int(told["label"]))
                if traced is None:
                    raise ValueError("the buffer is another one than before: it has not what was traced in it")
                self._follow(traced)
                self._questions[-1] = replace(self._questions[-1], swap_gap=gap)


def _usable(reference: Reference) -> tuple[Buffer | None, str]:
    """The buffer where it can be judged, else why nothing is seen ("": there is nothing to see, LKG itself serves)."""
    if not len(reference) or np.isnan(reference.g).any() or np.isnan(reference.f).any():
        return None, "no scores of the serving and of the last known good model to compare the buffer's labels with"
    if np.array_equal(reference.f, reference.g):
        return None, ""
    if reference.buffer is None or not len(reference.buffer):
        return (
            None,
            "the version's training buffer is not known: add versions with --buffer, or name it in the settings",
        )
    return reference.buffer, ""


def _concentrated(names: list[str]) -> tuple[str, ...]:
    """At most two names that hold 80 % of the rows."""
    top = [name for name, _ in Counter(names).most_common(2)]
    covered = sum(name in top for name in names) >= 0.8 * len(names)
    return tuple(name for name in top if name not in {"", "-"}) if covered else ()
