"""Rows that are suspicious by several scores together: wrong labels, stamped values, what other sources contradict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Self

import numpy as np

from detectors.batch import Bools, Floats, Ints, Strings
from detectors.sequential import sessions_of
from rollback.sanitise.case import Case
from rollback.sanitise.conformal import Suspicion as Rated
from rollback.sanitise.conformal import calibrate, session_weights
from rollback.sanitise.material import Material
from rollback.sanitise.pair_excess import excess
from rollback.sanitise.rows import Progress, Slice, Suspects
from rollback.sanitise.scores.score import Score, make_scores, score_names
from rollback.sanitise.screen import Findings, Screen
from rollback.sanitise.session_rank import calibrate_sessions
from rollback.sanitise.source_alarm import Limits, alarmed_sources

DEFAULT: Final = {"lkg_loss": 2.0, "leave_sources_out": 1.0, "replaced_cells": 2.0}
REASON: Final = 256


@dataclass(frozen=True, slots=True)
class Parameters:
    """Rows with p <= ``level`` are removed, in an alarmed source those with p <= ``source_level``.

    A source is alarmed for a label where the mean share of its sessions' rows with p <= ``level`` is so far above the
    base's that chance would have done it with a probability of at most ``alarm``, and so far above the other sources'
    that it would with at most ``peer_alarm`` (both by their bounds of ``confidence``).

    ``scores`` {name: weight} are the files of `rollback.sanitise.scores` that are combined. By default those three that
    look at different things: what models of the trusted base say of the label, what the other suppliers say of it (half
    the weight, for it does not see what all of them send), and whether the cells of the row fit each other. On the
    development seeds of two data sets no other score of the package added to what these find together, and each takes a
    part of the level from the others; ``bench/screens.py`` measures all of them.

    A p-value of a score that does not rate the label is raised to 1/``doubt`` of that of the label's loss: unusual
    values under a label that models of the base agree with are news rather than poison.
    """

    level: float = 0.0125
    source_level: float = 0.05
    alarm: float = 1e-4
    peer_alarm: float = 1e-3
    confidence: float = 0.95
    doubt: float = 20.0
    scores: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT))

    def __post_init__(self) -> None:
        if not 0 < self.level <= self.source_level < 1:
            raise ValueError(f"need 0 < level <= source_level < 1, got {self.level} and {self.source_level}")
        shares = (self.alarm, self.peer_alarm, self.confidence)
        if not all(0 < share < 1 for share in shares):
            raise ValueError(f"alarm, peer_alarm and confidence lie in (0, 1), got {shares}")
        if self.doubt < 1:
            raise ValueError(f"doubt is at least 1, got {self.doubt}")
        if not self.scores or set(self.scores) - set(score_names()) or min(self.scores.values()) <= 0:
            raise ValueError(f"scores: weights above 0 of {', '.join(score_names())}; got {dict(self.scores)}")


class Suspicion(Screen):
    """Conformal p-values of several scores, combined by their weighted harmonic mean, which is calibrated once more.

    Each score is ranked among base rows of the same given label, with one vote a session (`calibrate_sessions`). A
    row's combined score is minus the harmonic mean of its p-values, as the base rows' own are; and its p-value is the
    rank of that among base rows of the same label. So the stated rate holds however the scores depend on each other,
    and the rows of a session on each other. Sources are judged by ranks among rows, and counted by sessions.

    Null: new rows are drawn like the base (whole sessions). False-positive rate: ``level`` of the rows, and with
    probability ``alarm`` per source and label ``source_level`` of that source's. Honest news (a new family) is removed
    too: where a source is alarmed a remark says what for, and what no slice explains of it is held for a person.
    Sources: V. Vovk, "Cross-conformal predictors" (2015); D. Wilson, "The harmonic mean p-value for combining dependent
    tests" (2019), PNAS 116.

    >>> Suspicion(Parameters()).error_rate
    0.012505
    """

    name: ClassVar[str] = "suspicion"

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    @property
    def error_rate(self) -> float:
        """See `Screen`."""
        return self._parameters.level + self._parameters.alarm * self._parameters.source_level

    def find(self, case: Case, progress: Progress) -> Findings:
        """See `Screen`."""
        p, new = self._parameters, case.new
        if not len(new):
            progress("suspicious rows", 0.0)
            progress("suspicious rows", 1.0)
            return Findings.of(np.zeros(0, np.bool_), np.zeros(0), np.zeros(0, "U1"))
        (base_p, new_p), own_p, reason = _judged(case, p, progress)
        removed = own_p <= p.level
        remarks: list[str] = []
        held: list[Slice] = []
        for label in np.unique(new.y).tolist():
            flagged = base_p <= p.level, new_p <= p.level
            limits = Limits(p.alarm, p.peer_alarm, p.confidence)
            held += _unexplained(case, flagged, new_p <= p.source_level, label, p, limits)
            for source in alarmed_sources(case.base, flagged[0], new, flagged[1], label, limits):
                cell = (new.source == source) & (new.y == label)
                more = cell & (new_p <= p.source_level)
                name = new.schema.classes[label]
                removed |= more
                reason[more] = np.char.add(reason[more], f", and too many of this source's {name} rows are suspicious")
                remarks.append(
                    f"source {source}: {more.sum()} of {cell.sum()} rows labelled {name} contradict the trusted base, "
                    "more than chance and the other sources explain: wrong labels, or something new that the base does "
                    "not know"
                )
        progress("suspicious rows", 1.0)
        told = (*_unknown(case, p.level), *remarks)
        score = np.where(own_p <= p.level, own_p, new_p)
        suspects = Suspects((new_p <= p.source_level) & ~removed, p.source_level - p.level)
        return Findings.of(removed, score, reason, slices=tuple(held), remarks=told, suspects=suspects)


def _unexplained(
    case: Case, flagged: tuple[Bools, Bools], more: Bools, label: int, p: Parameters, limits: Limits
) -> list[Slice]:
    """What is left of an alarm for a source's ``label`` without the rows that slices explain, as a slice of its own.

    Such rows contradict the base, and nothing says that they are poison: a person has to. ``flagged`` are base and new
    rows, ``more`` [n] those that go where a source is alarmed.
    """
    new = case.new
    left = np.ones(len(new), np.bool_) if case.explained is None else ~case.explained
    found = []
    for source in alarmed_sources(case.base, flagged[0], new.take(left), flagged[1][left], label, limits):
        cell = left & (new.source == source) & (new.y == label)
        count, expected = int(np.count_nonzero(cell & more)), p.source_level * np.count_nonzero(cell)
        found.append(
            Slice(
                label=new.schema.classes[label],
                source=source,
                features={},
                score=float(excess(np.array([float(count)]), np.array([expected]))[0]),
                rows=count,
                expected=expected,
                contradicted=1.0,
                sources={source: count},
                held=True,
            )
        )
    return found


def _judged(case: Case, p: Parameters, progress: Progress) -> tuple[tuple[Floats, Floats], Floats, Strings]:
    """Combined p-values of base and new rows among rows, of new rows among sessions, and what speaks most against each.

    Sources are judged by the former: an alarm counts sessions itself, and compares alike numbers of both.
    """
    material = Material.of(case)
    rows, sessions = _Combined.none(case), _Combined.none(case)
    least, reason = np.full(len(case.new), np.inf), np.full(len(case.new), "", f"U{REASON}")
    for i, score in enumerate(make_scores(p.scores)):
        progress(f"suspicious rows: {score.name}", i / len(p.scores))
        rated = score.rate(material)
        doubt = np.inf if score.judges_label else p.doubt
        ranked = _doubted(case, calibrate(rated, case.base.y, case.new.y), doubt)
        rows = rows.plus(ranked, p.scores[score.name])
        sessions = sessions.plus(
            _doubted(case, calibrate_sessions(rated, case.base, case.new), doubt), p.scores[score.name]
        )
        stronger = ranked[1] < least
        reason[stronger] = _words(score, rated.cell, case)[stronger]
        least = np.minimum(least, ranked[1])
    among_rows = calibrate(rows.rated(), case.base.y, case.new.y)
    return among_rows, calibrate_sessions(sessions.rated(), case.base, case.new)[1], reason


def _doubted(case: Case, ranked: tuple[Floats, Floats], doubt: float) -> tuple[Floats, Floats]:
    """P-values of base and new rows, at least 1/``doubt`` of those of the labels' loss."""
    return np.maximum(ranked[0], case.base_p / doubt), np.maximum(ranked[1], case.new_p / doubt)


@dataclass(frozen=True, slots=True)
class _Combined:
    """Sums of weight / p of base and of new rows."""

    base: Floats
    new: Floats

    @classmethod
    def none(cls, case: Case) -> Self:
        return cls(np.zeros(len(case.base)), np.zeros(len(case.new)))

    def plus(self, ranked: tuple[Floats, Floats], weight: float) -> Self:
        return replace(self, base=self.base + weight / ranked[0], new=self.new + weight / ranked[1])

    def rated(self) -> Rated:
        return Rated(self.base.round(9), self.new.round(9)[None])


def _words(score: Score, cell: Ints | None, case: Case) -> Strings:
    """What a score says against each new row, with the cell if it names one."""
    said = np.full(len(case.new), score.says, f"U{REASON}")
    if cell is not None:
        names = np.array([f" ({name[:64]})" for name in case.new.schema.names] + [""])
        said = np.char.add(said, names[cell])
    return said


def _unknown(case: Case, level: float) -> list[str]:
    """Labels of which the base has too few sessions for the p-values of all rows to reach the level."""
    remarks = []
    smallest = session_weights(case.new)  # of the p-values that a row can have, in 1/(1 + sessions)
    numbers, _ = sessions_of(case.base.session)
    for label in np.unique(case.new.y).tolist():
        sessions = len(np.unique(numbers[case.base.y == label]))
        judged = int(np.sum(smallest[case.new.y == label] > (1 + sessions) * level))
        if judged:
            remarks.append(
                f"{judged} rows labelled {case.new.schema.classes[label]} cannot be judged one by one: the trusted "
                f"base has {sessions} sessions of that class, {int(np.ceil(1 / level)) - 1} are needed"
            )
    return remarks
