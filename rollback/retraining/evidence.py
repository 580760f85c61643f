"""What a person needs to decide about a held slice, in one page: its rows, who supplied them, what would change.

It lies in the candidate's bundle (`held.json`), signed with it: nobody can change what a decision was about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

from detectors.batch import Bools, Scorer, Strings
from rollback.retraining.about import About
from rollback.retraining.data import Data
from rollback.retraining.vetting import Answered, Question, Settled, members
from rollback.sanitise.rows import Rows, Sanitised
from rollback.sanitise.slice_judge import describe
from rollback.trust.reputation import Outcome

HELD: Final = "held.json"
SAMPLES: Final = 12
MOST_MEASURED: Final = 3
"""A training is done for each slice whose return is measured: for so many of the largest."""


class Change(msgspec.Struct, frozen=True):
    """What the holdout's ``rows`` say with the slice trained on.

    ``flips`` {"attack -> benign": count} are decided otherwise then; the share that is right is without it and with it.
    """

    rows: int
    flips: dict[str, int]
    right_without: float
    right_with: float


class Sample(msgspec.Struct, frozen=True):
    """One row of a slice, as a person reads it."""

    id: str
    source: str
    origin: str
    features: dict[str, Any]


class HeldSlice(msgspec.Struct, frozen=True):
    """A slice that waits for a person: ``members`` are (id, digest) of all its rows; ``holds``: nothing is promoted.

    ``number`` is its place among the lineage's slices, as in `removed.parquet`. ``sources`` and ``origins`` count its
    sessions by supplier; ``first`` and ``last`` are event times, None where no row has one, and ``change`` is None
    where it was not measured.
    """

    number: int
    label: str
    why: str
    features: dict[str, Any]
    source: str | None
    score: float
    swap: float | None
    holds: bool
    members: tuple[tuple[str, str], ...]
    sources: dict[str, int]
    origins: dict[str, int]
    first: float | None
    last: float | None
    samples: tuple[Sample, ...]
    change: Change | None


class Evidence(msgspec.Struct, frozen=True):
    """`held.json`. ``answered`` is what a labeller's answers say of the suppliers of the rows that were asked about."""

    slices: tuple[HeldSlice, ...]
    answered: tuple[Outcome, ...] = ()


def evidence(
    data: Data, found: Sanitised, settled: Settled, candidate: Scorer, retrained: Callable[[Bools], Scorer]
) -> Evidence:
    """Of every open question. ``retrained`` gives a candidate that was trained on these new rows as well."""
    held = []
    # a person has to decide what the candidate waits for: that is measured first
    for place, question in enumerate(sorted(settled.open, key=lambda q: not q.holds)):
        rows = _rows(question, data, found)
        change = None
        if place < MOST_MEASURED:
            change = _change(data.holdout, candidate, retrained(rows & found.removed))
        number, confirmed = found.slices.index(question.slice) + 1, _confirmed(question, data, found)
        held.append(_slice(number, question, data, rows, change, confirmed))
    return Evidence(tuple(held), tuple(_answered(data)))


def _rows(question: Question, data: Data, found: Sanitised) -> Bools:
    return members(question.slice, found, data.new)


def _confirmed(question: Question, data: Data, found: Sanitised) -> Bools:
    """The answered rows of a slice that are what it says: whoever decides about the others decides about them too.

    A later retraining may run without the answers; they would be held again by themselves. Those that were confirmed as
    benign are among the new rows.
    """
    answers = Answered(data.answered, data.given.y)
    right = data.answered.y == data.given.y
    if data.confirmed is not None:
        right &= ~data.confirmed
    return np.asarray(answers.about(question.slice, found) & right, np.bool_)


def _slice(
    number: int, question: Question, data: Data, rows: Bools, change: Change | None, confirmed: Bools
) -> HeldSlice:
    piece, about = question.slice, data.new_about.take(rows)
    known = data.answered_about.take(confirmed)
    times = about.ts[~np.isnan(about.ts)].tolist()
    asked = [*question.rows, *np.flatnonzero(rows).tolist()]
    return HeldSlice(
        number=number,
        label=piece.label,
        why=f"may be a new family of {piece.label} rather than poison: {describe(piece)}",
        features=dict(piece.features),
        source=piece.source,
        score=piece.score,
        swap=piece.swap,
        holds=question.holds,
        members=tuple(
            zip(about.id.tolist() + known.id.tolist(), about.digest.tolist() + known.digest.tolist(), strict=True)
        ),
        sources=sessions_by(about.source, about),
        origins=sessions_by(about.origin, about),
        first=min(times, default=None),
        last=max(times, default=None),
        samples=tuple(_sample(data.new, data.new_about, row) for row in [*dict.fromkeys(asked)][:SAMPLES]),
        change=change,
    )


def _sample(new: Rows, about: About, row: int) -> Sample:
    shown = {f.name: f.show(float(new.x[row, j])) for j, f in enumerate(new.schema.features)}
    return Sample(str(about.id[row]), str(about.source[row]), str(about.origin[row]), shown)


def sessions_by(names: Strings, about: About) -> dict[str, int]:
    """How many sessions each supplier has, the most first."""
    found = {name: len(set(about.session[names == name].tolist())) for name in np.unique(names).tolist()}
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _change(holdout: Rows, candidate: Scorer, other: Scorer) -> Change:
    before, after = (np.argmax(scorer(holdout.x), axis=1) for scorer in (candidate, other))
    names = holdout.schema.classes
    flips: dict[str, int] = {}
    for old, new in zip(before.tolist(), after.tolist(), strict=True):
        if old != new:
            flips[f"{names[old]} -> {names[new]}"] = flips.get(f"{names[old]} -> {names[new]}", 0) + 1
    right = [float(np.mean(said == holdout.y)) for said in (before, after)]
    return Change(len(holdout), dict(sorted(flips.items())), *right)


def _answered(data: Data) -> list[Outcome]:
    """By supplier, sessions whose label was confirmed and contradicted; who is not named has no reputation."""
    about, right = data.answered_about, data.given.y == data.answered.y
    known = about.ts[~np.isnan(about.ts)]
    at = float(known.max()) if len(known) else 0.0
    found = []
    for kind, names in (("source", about.source), ("origin", about.origin)):
        for name in np.unique(names[names != "-"]).tolist():
            good, bad = (len(set(about.session[(names == name) & mask].tolist())) for mask in (right, ~right))
            found.append(Outcome(kind, name, at, good, bad, "", "answers of a trusted labeller"))  # type: ignore[arg-type]  # one of two
    return found
