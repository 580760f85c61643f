"""What a person has decided about held rows, bound to what the rows are and not to their ids alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from detectors.batch import Bools
from rollback.audit.log import FILE_NAME, START, read_while_written
from rollback.retraining.about import About
from rollback.retraining.vetting import covered, members
from rollback.sanitise.rows import Rows, Sanitised
from rollback.sanitise.slice_judge import family_remark
from rollback.signing.keys import Keys
from rollback.trust.sealed import read_sealed, write_sealed

DECISIONS: Final = "application/vnd.tocsin.decisions.v1+json"
SCREEN: Final = "review"


class Decided(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One decision: ``rows`` are (id, digest) of all rows of a slice; ``key`` is ``CANDIDATE/SLICE``."""

    key: str
    decision: Literal["accept", "reject"]
    rows: tuple[tuple[str, str], ...]
    by: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Ruled:
    """Of n new rows those that were ``accepted`` and ``rejected``; ``remarks`` say how many, and what does not hold."""

    accepted: Bools
    rejected: Bools
    remarks: tuple[str, ...] = ()


def read_decisions(path: Path, keys: Keys | None) -> tuple[Decided, ...]:
    """A file of decisions, oldest first. Raises `rollback.trust.sealed.SealedFileError`."""
    return read_sealed(path, DECISIONS, tuple[Decided, ...], keys)


def write_decisions(path: Path, decisions: tuple[Decided, ...], keys: Keys | None) -> None:
    """Raises `rollback.trust.sealed.SealedFileError`."""
    write_sealed(path, DECISIONS, decisions, keys)


def log_head(path: Path) -> str | None:
    """The hash of the last record in the audit log beside a file of decisions; None where there is no log.

    Raises `rollback.audit.log.AuditError` for one in which lines were changed.
    """
    log = path.with_name(FILE_NAME)
    if not log.exists():
        return None
    head = START
    for record in read_while_written(log):
        head = record.hash
    return head


def rule(decisions: Iterable[Decided], about: About) -> Ruled:
    """What the decisions say of the rows; of several about one row the last counts.

    Only a row with the id and the digest of a decided one was decided about: a row that was put in its place is not.
    Of an accepted row no more copies are accepted than the person was shown: nobody can give it more weight since.
    """
    last: dict[tuple[str, str], str] = {}
    left: Counter[tuple[str, str]] = Counter()
    for decided in decisions:
        copies = Counter(decided.rows)
        last |= dict.fromkeys(copies, decided.decision)
        for row, count in copies.items():
            left[row] = count  # as the last decision has shown them
    rows = [*zip(about.id.tolist(), about.digest.tolist(), strict=True)]
    said = np.array([_said(row, last, left) for row in rows], dtype="U8")
    ids = {ident for ident, _ in last}
    swapped = sum(ident in ids and (ident, digest) not in last for ident, digest in rows)
    accepted, out = said == "accept", said == "reject"
    return Ruled(accepted, out, tuple(_remarks(int(accepted.sum()), int(out.sum()), swapped)))


def rejected(decisions: Iterable[Decided], about: About) -> Bools:
    """Which rows a person has rejected, bool[n]; see `rule`."""
    return rule(decisions, about).rejected


def _remarks(accepted: int, out: int, swapped: int) -> Iterable[str]:
    if accepted:
        yield f"{accepted} rows were accepted in a review: they are trained on"
    if out:
        yield f"{out} rows were rejected in a review: they stay out"
    if swapped:
        yield f"{swapped} rows carry ids that were decided about, and are not those rows: no decision holds"


def _open(found: Sanitised, ruled: Ruled, new: Rows) -> Iterable[str]:
    """The remarks without those that ask about a slice whose rows were all decided about."""
    decided = ruled.accepted | ruled.rejected
    own = [(piece, members(piece, found, new)) for piece in found.slices]
    closed = {family_remark(piece) for piece, rows in own if rows.any() and np.all(decided[rows])}
    return [remark for remark in found.remarks if remark not in closed]


def _said(row: tuple[str, str], last: Mapping[tuple[str, str], str], left: Counter[tuple[str, str]]) -> str:
    """The decision about a row; ``left`` counts down the copies that may still be accepted."""
    decision = last.get(row, "")
    if decision == "accept":
        left[row] -= 1
        return decision if left[row] >= 0 else ""
    return decision


def overrule(found: Sanitised, ruled: Ruled, new: Rows) -> Sanitised:
    """The findings as a person has decided: accepted rows stay, with their whole weight, and rejected ones do not.

    A slice of which every removed row was accepted is none any more: neither its rows nor its values are held against
    the candidate, and the counterexamples that were made of it are left out.
    """
    removed = (found.removed & ~ruled.accepted) | ruled.rejected
    fresh = ruled.rejected & ~found.removed
    gone = [
        piece for piece in found.slices if (own := members(piece, found, new)).any() and np.all(ruled.accepted[own])
    ]
    more = found.counterexamples
    if more is not None and any(piece.valued for piece in gone):
        of = [covered(replace(piece, source=None), more) for piece in gone if piece.valued]
        more = more.take(~np.any(of, axis=0))
    return replace(
        found,
        removed=removed,
        screen=np.where(removed, np.where(fresh, SCREEN, found.screen), ""),
        reason=np.where(removed, np.where(fresh, "rejected by a person", found.reason), ""),
        score=np.where(removed, found.score, np.nan),
        weight=np.where(removed, 0.0, np.where(ruled.accepted, 1.0, found.weight)),
        slices=tuple(piece for piece in found.slices if piece not in gone),
        held_back=tuple(piece for piece in found.held_back if piece not in gone),
        counterexamples=more if more is None or len(more) else None,
        remarks=(*_open(found, ruled, new), *ruled.remarks),
    )
