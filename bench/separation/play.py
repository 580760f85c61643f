"""Plays an episode to Tocsin's detectors and verdict table, at their defaults, with a labeller who is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from detectors.batch import Batch, Buffer, Floats, Ints, Labels, Reference, Scorer, Window
from detectors.evidence import Evidence, make_detectors
from detectors.verdict import GRAVITY, Verdict, judge
from monitor.panel import Panel, Versions
from monitor.vetting import about_rows, interleave
from separation.episode import TRUSTED, Episode, Feedback

WINDOW: Final = 1000


@dataclass(frozen=True, slots=True)
class Settings:
    """As `ModelConfig` has them by default, and what there is less of.

    ``wrong``: how often the labeller errs. ``sources``: whether events say where they come from, ``trusted``: whether
    trusted labels arrive unasked, ``buffer`` and ``lkg``: whether they are given.
    """

    alarm: float = 1e6
    ask: float = 1e4
    budget: int = 16
    delay: int = 1
    wrong: float = 0.0
    sources: bool = True
    trusted: bool = True
    buffer: bool = True
    lkg: bool = True
    shadow: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """One window: what was said, and what the verdict was made of."""

    verdict: Verdict
    evidence: tuple[Evidence, ...]
    asked: int
    touched_sessions: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """All windows of an episode in order. ``asked`` are ids: of events ``eROW`` and of buffer rows ``bROW``."""

    windows: tuple[Judged, ...]
    asked: tuple[str, ...]

    @property
    def gravest(self) -> Verdict:
        """The verdict that stands: the gravest of all windows, the surest of these."""
        return min((w.verdict for w in self.windows), key=lambda v: (GRAVITY.index(v.family), -v.confidence))

    @property
    def called(self) -> str:
        """Its family; a regression by its own name."""
        verdict = self.gravest
        return "regression" if verdict.hypothesis == "regression" else verdict.family

    def first(self, family: str) -> int | None:
        """The first window of this family."""
        return next((i for i, w in enumerate(self.windows) if w.verdict.family == family), None)


def play(episode: Episode, settings: Settings | None = None, *, seed: int = 0) -> Outcome:
    """Window by window: score, detect, judge, ask; feedback comes a window later, answers ``delay`` windows later."""
    return Player(episode, settings or Settings(), seed).run()


class Player:
    """The state of a play: open questions and what has been asked."""

    def __init__(self, episode: Episode, settings: Settings, seed: int) -> None:
        self._episode, self._settings = episode, settings
        self._rng = np.random.default_rng([seed, 77])
        detectors = make_detectors(settings.alarm, settings.ask, seed, settings.parameters)
        self._panel = Panel(versions(episode, settings), detectors)
        self._due: dict[int, list[str]] = {}
        self._asked: list[str] = []
        self._voted: set[str] = set()

    def run(self) -> Outcome:
        """All windows, and as many without events as answers are outstanding."""
        judged = list(self._events())
        index = len(judged)
        while self._due:
            judged.append(self._window(index, np.zeros(0, np.int64)))
            index += 1
        return Outcome(tuple(judged), tuple(self._asked))

    def _events(self) -> Iterator[Judged]:
        count = -(-len(self._episode.events) // WINDOW)
        for index in range(count):
            yield self._window(index, np.arange(index * WINDOW, min((index + 1) * WINDOW, len(self._episode.events))))

    def _window(self, index: int, rows: Ints) -> Judged:
        window = self._scored(index, rows)
        evidence = self._panel.observe(window, self._labels(index))
        verdict = judge(evidence)
        asked = self._ask(index, evidence, suspected=verdict.suspected)
        events = self._episode.events
        carriers = len(set(events.session[rows[events.touched[rows]]].tolist()))
        return Judged(verdict, tuple(evidence), asked, carriers)

    def _ask(self, index: int, evidence: list[Evidence], *, suspected: bool) -> int:
        """Rows of the buffer may always be asked about, from a budget of their own."""
        before = len(self._asked)
        for ask in about_rows(evidence) + (interleave(evidence) if suspected else []):
            spent = sum(i.startswith("b") == ask.of_buffer for i in self._asked)
            if spent < self._settings.budget and ask.id not in self._asked:
                self._asked.append(ask.id)
                self._due.setdefault(index + self._settings.delay, []).append(ask.id)
        return len(self._asked) - before

    def _scored(self, index: int, rows: Ints) -> Window:
        episode = self._episode
        events = episode.events.take(rows)
        served = episode.served or episode.score_f
        source = events.source if self._settings.sources else np.full(len(rows), "-")
        number = rows.astype(np.uint64)
        batch = Batch(
            "m",
            "2",
            rows.astype(np.float64),
            np.char.add("e", rows.astype(np.str_)),
            source,
            events.session,
            np.full(len(rows), ""),
            events.x,
            _answers(served, events.x, len(episode.world.schema.classes)),
            np.zeros(len(rows), np.int64),
            rows,
            number,
            number.copy(),
        )
        names = events.session.tolist()
        fresh = np.array([name not in self._voted for name in names], np.bool_)
        self._voted.update(names)
        return self._panel.window(index, batch, fresh)

    def _labels(self, index: int) -> Labels | None:
        """Feedback on the window before, and answers that are due."""
        given = self._episode.feedback
        rows = (given.row // WINDOW == index - 1) & (self._settings.trusted | ~given.trusted)
        due = self._due.pop(index, [])
        events = np.array([int(i[1:]) for i in due if i.startswith("e")], np.int64)
        truth = self._erring(self._episode.events.y[events])
        answers = Feedback(events, truth, np.full(len(events), TRUSTED), np.ones(len(events), np.bool_))
        parts = [self._joined(given.take(np.flatnonzero(rows)), index), self._joined(answers, index, vetted=True)]
        self._answer_rows([int(i[1:]) for i in due if i.startswith("b")])
        parts = [part for part in parts if len(part)]
        return Labels.concat(parts) if parts else None

    def _answer_rows(self, rows: list[int]) -> None:
        if rows and self._episode.buffer is not None:
            truth = self._erring(self._episode.buffer.y[rows]).tolist()
            self._panel.vetted({f"b{row}": label for row, label in zip(rows, truth, strict=True)})

    def _erring(self, y: Ints) -> Ints:
        classes = len(self._episode.world.schema.classes)
        wrong = self._rng.random(len(y)) < self._settings.wrong
        return np.where(wrong, (y + self._rng.integers(1, classes, len(y))) % classes, y)

    def _joined(self, given: Feedback, at: int, *, vetted: bool = False) -> Labels:
        """Labels with their events, as the loop would join them."""
        episode, events, n = self._episode, self._episode.events.take(given.row), len(given)
        schema, time = episode.world.schema, np.full(len(given), float(at * WINDOW))
        f = _answers(episode.score_f, events.x, len(schema.classes))
        g = np.full_like(f, np.nan)
        if episode.score_g is not None and self._settings.lkg:
            g = _answers(episode.score_g, events.x, len(schema.classes))
        return Labels(
            id=np.char.add("e", given.row.astype(np.str_)),
            ts=time,
            event_ts=time.copy(),
            label=given.label,
            name=np.array(schema.classes)[given.label],
            origin=given.origin,
            trusted=given.trusted,
            vetted=np.full(n, vetted),
            source=events.source if self._settings.sources else np.full(n, "-"),
            session=events.session,
            x=events.x,
            served=f.copy(),
            f=f,
            g=g,
        )


def versions(episode: Episode, settings: Settings) -> Versions:
    """Reference and buffer as the panel would put them side by side."""
    schema = episode.world.schema
    known = episode.world.reference
    score_g = episode.score_g if settings.lkg else None
    f = _answers(episode.score_f, known.x, len(schema.classes))
    g = np.full_like(f, np.nan) if score_g is None else _answers(score_g, known.x, len(schema.classes))
    source = known.source if settings.sources else np.full(len(known), "-")
    buffer = _buffer(episode, score_g) if settings.buffer else None
    reference = Reference(schema, known.x, known.y, source, known.session, f, g, buffer)
    return Versions(schema, episode.score_f, score_g, reference, shadow=settings.shadow)


def _buffer(episode: Episode, score_g: Scorer | None) -> Buffer | None:
    rows = episode.buffer
    if rows is None:
        return None
    classes = len(episode.world.schema.classes)
    f = _answers(episode.score_f, rows.x, classes)
    g = np.full_like(f, np.nan) if score_g is None else _answers(score_g, rows.x, classes)
    ids = np.char.add("b", np.arange(len(rows)).astype(np.str_))
    return Buffer(ids, rows.x, rows.label, rows.source, rows.session, rows.origin, f, g)


def _answers(score: Scorer, x: Floats, classes: int) -> Floats:
    return score(x) if len(x) else np.zeros((0, classes))
