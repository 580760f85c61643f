"""Removed slices that may be honest news: which rows a person has to label, and what the answers decide.

Feature values that are over-represented under a label are a backdoor's, or a new family's. Where the values alone do
not bring the label (a low swap), screens cannot tell the two apart. Nothing of such a slice is trained on before a
trusted labeller has said what its rows are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from detectors.batch import Bools
from rollback.retraining.about import About
from rollback.retraining.answers import VettingFileError
from rollback.sanitise.rows import Rows, Sanitised, Slice
from rollback.sanitise.slice_judge import CLEAR_SWAP, FAMILY_ROWS, describe

__all__ = ["Question", "Settled", "VettingFileError", "covered", "members", "request", "requests", "settle"]

ASKED: Final = 16
"""So many rows of each slice are asked for; all of them have to be confirmed."""
MOST_SLICES: Final = 8
"""Rows of at most so many slices are asked for, of the largest."""


@dataclass(frozen=True, slots=True)
class Question:
    """``rows`` (positions among the new ones) of a slice that are to be labelled; ``holds``: promotion waits for it."""

    slice: Slice
    rows: tuple[int, ...]
    holds: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """``returned`` bool[n]: rows of the ``confirmed`` slices; ``open`` is what still waits for answers or a decision.

    ``remarks`` say what a person should know of the answers.
    """

    returned: Bools
    open: tuple[Question, ...]
    confirmed: tuple[Slice, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether a person has to answer before the candidate may serve."""
        return any(question.holds for question in self.open)


def settle(
    found: Sanitised,
    base: Rows,
    new: Rows,
    answered: Rows,
    rng: np.random.Generator,
    rejected: Bools | None = None,
) -> Settled:
    """Weigh the answers that there are: ``answered`` rows carry their true label.

    A slice is settled when 16 of its rows (or all that it has) are answered; rows of one id count once, so that nobody
    has one answer count for many. A slice labelled with another class than the benign one (the most frequent of the
    base) returns if each answer confirms its label. A slice labelled benign never returns: an attacker may hide behind
    honest rows of the same values; its answered rows alone are trained on. Where all of them confirm it, the others
    stay open to a review. While such a slice has not enough answers, the candidate is held. Rows are asked for of the
    largest slices only; the others are open too. ``rejected`` [n] rows were decided about by a person: nothing is asked
    about a slice that has no others.
    """
    returned = np.zeros(len(new), dtype=np.bool_)
    benign = int(np.bincount(base.y).argmax())
    still: list[Question] = []
    confirmed: list[Slice] = []
    remarks: list[str] = []
    for piece in _doubtful(found, answered):
        label = new.schema.classes.index(piece.label)
        own = members(piece, found, new)
        if rejected is not None and rejected[own].any():
            own &= ~rejected
            if not own.any():
                continue
        inside = _asked_for(piece, found, answered)
        told, count = answered.y[inside], _distinct(answered, inside)
        wanted = min(ASKED, int(own.sum()) + count)
        right = bool(np.all(told == label))
        if count < wanted:
            asks = sum(bool(question.rows) for question in still) < MOST_SLICES
            asked = rng.permutation(np.flatnonzero(own))[: wanted - count] if asks else np.zeros(0, np.int64)
            still.append(Question(piece, tuple(np.sort(asked).tolist()), label == benign))
        elif right and label != benign:
            returned |= own
            confirmed.append(piece)
        elif right and own.any():
            still.append(Question(piece, (), holds=False))
            remarks.append(
                f"all {count} answers confirm that rows of a slice are {piece.label} ({describe(piece)}); its other "
                f"{np.count_nonzero(own)} rows stay out until a person accepts them: tocsin review list"
            )
    return Settled(returned, tuple(still), tuple(confirmed), tuple(remarks))


def _distinct(answered: Rows, inside: Bools) -> int:
    """How many answers there are about these rows: copies under one id have one."""
    if answered.id is None:
        return int(np.count_nonzero(inside))
    return len(np.unique(answered.id[inside]))


def _doubtful(found: Sanitised, answered: Rows) -> list[Slice]:
    """The slices that may be a new family, largest first. Rows that were answered have left it, and still count."""
    unsure = [
        s
        for s in found.slices
        if s.held or ((s.swap or 0.0) < CLEAR_SWAP and s.rows + np.count_nonzero(covered(s, answered)) >= FAMILY_ROWS)
    ]
    return sorted(unsure, key=lambda s: -s.rows)


def members(piece: Slice, found: Sanitised, new: Rows) -> Bools:
    """The removed rows of a slice. Of one without values (those of a source) only the rows that are in no other."""
    own = _asked_for(piece, found, new) & found.removed
    return np.asarray(own & (new.y == new.schema.classes.index(piece.label)), np.bool_)


def _asked_for(piece: Slice, found: Sanitised, rows: Rows) -> Bools:
    """The rows that an answer about the slice is about, whatever their label."""
    inside = covered(piece, rows)
    if not piece.valued:
        for other in found.slices:
            if other.valued:
                inside &= ~covered(other, rows)
    return inside


def covered(piece: Slice, rows: Rows) -> Bools:
    """The rows that hold the slice's values (and come from its source), whatever their label."""
    inside = np.ones(len(rows), dtype=np.bool_)
    if piece.source is not None:
        inside &= rows.source == piece.source
    for name, value in (piece.core or piece.features).items():
        j = rows.schema.names.index(name)
        inside &= _holds(rows, j, value)
    return inside


def _holds(rows: Rows, j: int, value: Any) -> Bools:
    column = rows.x[:, j]
    feature = rows.schema.features[j]
    if isinstance(value, Sequence) and not isinstance(value, str):
        low, high = value
        above = column >= (-np.inf if low is None else low)
        return np.asarray(above & (column <= (np.inf if high is None else high)), dtype=np.bool_)
    if value is None:
        return np.asarray(np.isnan(column), dtype=np.bool_)
    if feature.kind != "categorical":
        return np.asarray(column == float(value), dtype=np.bool_)
    return np.array([feature.show(code) == value for code in column.tolist()], dtype=np.bool_)


def requests(settled: Settled, new: Rows, about: About) -> list[dict[str, Any]]:
    """The lines of `vetting.ndjson` about what is open."""
    return [
        request(new, about, row, f"may be a new family of {q.slice.label} rather than poison: {describe(q.slice)}")
        for q in settled.open
        for row in q.rows
    ]


def request(new: Rows, about: About, row: int, why: str) -> dict[str, Any]:
    """What a labeller needs to know of a row; an answer repeats id and digest."""
    return {
        "id": str(about.id[row]),
        "digest": str(about.digest[row]),
        "why": why,
        "label": new.schema.classes[int(new.y[row])],
        "source": str(new.source[row]),
        "features": {f.name: f.show(float(new.x[row, j])) for j, f in enumerate(new.schema.features)},
    }
