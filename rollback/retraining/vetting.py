"""Slices that may be honest news: which rows a person has to label, and what the answers decide.

Feature values that are over-represented under a label are a backdoor's, or a new family's. Where the values alone do
not bring the label (a low swap), screens cannot tell the two apart. Nothing of such a slice is trained on before a
trusted labeller has said what its rows are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from detectors.batch import Bools, Ints
from rollback.retraining.about import About
from rollback.retraining.answers import VettingFileError
from rollback.sanitise.cover import about as about_rows
from rollback.sanitise.cover import covered, doubtful
from rollback.sanitise.rows import Rows, Sanitised, Slice
from rollback.sanitise.slice_judge import describe

__all__ = ["Question", "Settled", "VettingFileError", "covered", "members", "request", "requests", "settle", "withdraw"]

SCREEN: Final = "answers"
"""What takes rows out because of answers about others, where screens are named."""
ASKED: Final = 16
"""So many rows of each slice are asked for; all of them have to be confirmed."""
MOSTLY: Final = 0.5
"""A slice labelled benign of which answers confirm this share is more likely honest than poison."""
MOST_SLICES: Final = 8
"""Rows of at most so many slices are asked for, of the largest."""
ALONE: Final = 16
"""So many rows that went one by one are asked for as well."""
FEWEST_FALSE: Final = 5
"""So many of them have to have a false label before others are taken for false because of it ..."""
TIMES: Final = 2
"""... and the others have to be so many times as many as of clean rows."""
WHY_ALONE: Final = (
    "went by itself, because the trusted base knows nothing like it: poison, or what a model learns most from"
)


@dataclass(frozen=True, slots=True)
class Question:
    """``rows`` (positions among the new ones) of a slice that are to be labelled; ``holds``: promotion waits for it."""

    slice: Slice
    rows: tuple[int, ...]
    holds: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """What answers have decided. ``open`` is what still waits for answers or a decision.

    ``returned`` bool[n]: rows of the ``confirmed`` slices, and confirmed ones of none, whatever screens say of them.
    ``remarks`` say what a person should know of the answers. ``alone`` are rows (positions among the new ones) of no
    slice whose labels are worth asking for; nothing waits for them. ``withdrawn`` bool[n] go because of answers about
    others (None: none do).
    """

    returned: Bools
    open: tuple[Question, ...]
    confirmed: tuple[Slice, ...] = ()
    remarks: tuple[str, ...] = ()
    alone: tuple[int, ...] = ()
    withdrawn: Bools | None = None

    @property
    def holds(self) -> bool:
        """Whether a person has to answer before the candidate may serve."""
        return any(question.holds for question in self.open)


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows with the true label that a trusted labeller gave them, and the label ``given`` [n] that they came with."""

    rows: Rows
    given: Ints

    def about(self, piece: Slice, found: Sanitised) -> Bools:
        """The answers bool[n] about rows of a slice: others with its values came with another label."""
        label = self.rows.schema.classes.index(piece.label)
        return np.asarray(about_rows(piece, found.slices, self.rows) & (self.given == label), np.bool_)

    def count(self, among: Bools) -> int:
        """How many answers there are: copies under one id have one."""
        return int(np.count_nonzero(among)) if self.rows.id is None else len(np.unique(self.rows.id[among]))


def settle(
    found: Sanitised,
    new: Rows,
    answers: Answered,
    rng: np.random.Generator,
    *,
    benign: str,
    decided: Bools | None = None,
    vouched: Bools | None = None,
) -> Settled:
    """Weigh the answers that there are about slices of the ``new`` rows.

    A slice is settled when 16 of its rows (or all that it has) are answered; rows of one id count once, so that nobody
    has one answer count for many. Rows are asked for of the largest slices only; the others are open too.

    - All answers confirm it, and its label is not ``benign``: its rows return. Were the share s of them false, 16 drawn
      at random would all be right with probability (1 - s)^16: with 95% confidence at most 17% of them are false.
    - All confirm it, and it is labelled benign: it never returns by answers, for an attacker may hide behind honest
      rows of the same values, and 16 of his own can be enough to teach a trigger. The candidate waits for a review.
    - Some confirm it: it is open to a review. Where it is labelled benign and half of them do, the candidate waits.
    - None does: its rows stay out.
    - Its values alone bring its label (it is not `doubtful`), which is not ``benign``: so do those of a new family, and
      so does a trigger on honest rows. Nobody is asked; it is open to a review unless all answers deny it.

    While a slice labelled benign has not enough answers, the candidate waits. It waits for any slice whose rows were
    ``kept``, unless all answers confirm another label than benign, or most deny it: then its rows go after all.
    ``decided`` [n] rows were accepted or rejected by a person: nothing is asked about a slice that has no others.
    ``vouched`` [n] rows were confirmed as benign: they return unless they are of a slice with that label, with which
    they wait, or a person has decided.

    Of the rows of no slice 16 are asked for too, drawn at random. Most are honest, and the hardest of their class: they
    went because the base knows nothing like them, and a model learns more of each than of any other row. Where answers
    say that half of those with a label are false, the ``suspects`` of that label go, too, if they are twice as many as
    of clean rows: then more than half of them are poison.
    """
    none = np.zeros(len(new), dtype=np.bool_)
    vouched, decided = (none if mask is None else mask for mask in (vouched, decided))
    returned = vouched & ~decided & ~_of_any(benign, found, new)
    withdrawn = none.copy()
    still: list[Question] = []
    confirmed: list[Slice] = []
    remarks: list[str] = []
    for piece in sorted((s for s in found.slices if doubtful(s) or s.label != benign), key=lambda s: -s.rows):
        own = members(piece, found, new)
        if decided[own].any():
            own &= ~decided
            if not own.any():
                continue
        inside = answers.about(piece, found)
        if not doubtful(piece):  # never by answers: sixteen rows of a trigger that was put on attacks can teach it
            if own.any() and not _denied(piece, inside, answers):
                still.append(Question(piece, (), holds=False))
                remarks.append(_certain(piece, int(np.count_nonzero(own))))
            continue
        count, wary = answers.count(inside), piece.label == benign
        unknown = own & ~vouched
        wanted = min(ASKED, int(unknown.sum()) + count)
        if count < wanted:
            asks = sum(bool(question.rows) for question in still) < MOST_SLICES
            asked = rng.permutation(np.flatnonzero(unknown))[: wanted - count] if asks else np.zeros(0, np.int64)
            still.append(Question(piece, tuple(np.sort(asked).tolist()), wary or piece.kept))
            continue
        right = answers.rows.y[inside] == new.schema.classes.index(piece.label)
        if right.all() and not wary:
            returned |= own & found.removed
            confirmed.append(piece)
            continue
        mostly = float(right.mean()) >= MOSTLY
        withdrawn |= unknown & np.bool_(piece.kept and not mostly)
        if own.any() and right.any():
            still.append(Question(piece, (), mostly and (piece.kept or wary)))
            told = _remark(piece, int(right.sum()), len(right), int(np.count_nonzero(unknown)), stays=mostly)
            remarks.append(told)
    loose, free = _loose(found, new, answers), ~(vouched | decided)
    alone = _alone(found.removed & loose.rows & free, loose.answers, answers, rng)
    withdrawn |= _also_false(found, new, answers, loose) & free
    if count := int(np.count_nonzero(withdrawn & ~found.removed)):
        remarks.append(f"{count} more rows are left out, because answers say that most rows like them are false")
    return Settled(returned, tuple(still), tuple(confirmed), tuple(remarks), alone, withdrawn)


@dataclass(frozen=True, slots=True)
class _Loose:
    """Of no slice: the new ``rows`` bool[n], and the ``answers`` bool[a]."""

    rows: Bools
    answers: Bools


def _loose(found: Sanitised, new: Rows, answers: Answered) -> _Loose:
    rows, told = np.ones(len(new), np.bool_), np.ones(len(answers.rows), np.bool_)
    for piece in found.slices:
        rows &= ~members(piece, found, new)
        told &= ~answers.about(piece, found)
    return _Loose(rows, told)


def _alone(gone: Bools, told: Bools, answers: Answered, rng: np.random.Generator) -> tuple[int, ...]:
    """Which of the rows that have ``gone`` [n] one by one are asked for; answers [a] were ``told`` about such ones."""
    asked = rng.permutation(np.flatnonzero(gone))[: max(0, ALONE - answers.count(told))]
    return tuple(np.sort(asked).tolist())


def _also_false(found: Sanitised, new: Rows, answers: Answered, loose: _Loose) -> Bools:
    """The suspects bool[n] of labels that answers call false mostly, where clean rows do not explain their number."""
    out = np.zeros(len(new), np.bool_)
    if found.suspects is None:
        return out
    for label in np.unique(answers.given[loose.answers]).tolist():
        told = loose.answers & (answers.given == label)
        false, own = answers.count(told & (answers.rows.y != label)), new.y == label
        own_suspects = found.suspects.rows & own & loose.rows
        many = np.count_nonzero(own_suspects) >= TIMES * found.suspects.rate * np.count_nonzero(own)
        if many and false >= FEWEST_FALSE and false >= MOSTLY * answers.count(told):
            out |= own_suspects
    return out


def _denied(piece: Slice, inside: Bools, answers: Answered) -> bool:
    """Whether there are answers about a slice, and none of them says what it does."""
    return bool(inside.any()) and not np.any(answers.rows.y[inside] == answers.rows.schema.classes.index(piece.label))


def _certain(piece: Slice, rows: int) -> str:
    return (
        f"{rows} rows stay out until a person accepts them, as values that alone bring their label: poison, or a new "
        f"family of {piece.label} (tocsin review list): {describe(piece)}"
    )


def _of_any(label: str, found: Sanitised, new: Rows) -> Bools:
    """The rows of any slice of a label."""
    own = [members(piece, found, new) for piece in found.slices if piece.label == label]
    return np.asarray(np.any(own, axis=0), np.bool_) if own else np.zeros(len(new), np.bool_)


def _remark(piece: Slice, right: int, told: int, rows: int, *, stays: bool) -> str:
    said = "all" if right == told else f"{right} of"
    now = "stay out until a person accepts them"
    if piece.kept and stays:
        now = (
            "are too many to take out and wait for a person: those that did not go one by one are trained on meanwhile"
        )
    which = f"its other {rows} rows" if rows else "they"
    return (
        f"{said} {told} answers confirm that rows of a slice are {piece.label} ({describe(piece)}); {which} {now}: "
        "tocsin review list"
    )


def withdraw(found: Sanitised, rows: Bools | None) -> Sanitised:
    """The findings with these rows [n] removed as well, because of answers."""
    if rows is None:
        return found
    fresh = rows & ~found.removed
    return replace(
        found,
        removed=found.removed | fresh,
        screen=np.where(fresh, SCREEN, found.screen),
        reason=np.where(fresh, "answers say that most rows like it are false", found.reason),
        weight=np.where(fresh, 0.0, found.weight),
    )


def members(piece: Slice, found: Sanitised, new: Rows) -> Bools:
    """The rows of a slice: those that were removed, of one whose rows were kept all."""
    own = about_rows(piece, found.slices, new) & (new.y == new.schema.classes.index(piece.label))
    return np.asarray(own if piece.kept else own & found.removed, np.bool_)


def requests(settled: Settled, new: Rows, about: About) -> list[dict[str, Any]]:
    """The lines of `vetting.ndjson` about what is open; those that nothing waits for come last."""
    of_slices = [
        request(new, about, row, f"may be a new family of {q.slice.label} rather than poison: {describe(q.slice)}")
        for q in settled.open
        for row in q.rows
    ]
    return of_slices + [request(new, about, row, WHY_ALONE, optional=True) for row in settled.alone]


def request(new: Rows, about: About, row: int, why: str, *, optional: bool = False) -> dict[str, Any]:
    """What a labeller needs to know of a row; an answer repeats id and digest. Nothing waits for ``optional`` ones."""
    return {
        "id": str(about.id[row]),
        "digest": str(about.digest[row]),
        "why": why,
        "optional": optional,
        "label": new.schema.classes[int(new.y[row])],
        "source": str(new.source[row]),
        "features": {f.name: f.show(float(new.x[row, j])) for j, f in enumerate(new.schema.features)},
    }
