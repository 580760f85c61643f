"""Answers of a trusted labeller, bound to the rows that they are about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from detectors.batch import Ints
from detectors.schema import Schema
from rollback.retraining.about import About
from rollback.tables.table import TableError


class VettingFileError(Exception):
    """The file of answers cannot be read; the message names the line."""


class Answer(msgspec.Struct, frozen=True):
    """The true ``label`` of the row ``id``; ``digest`` says which row was meant ("": whichever has the id)."""

    id: str
    label: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """``y`` [n] is the true class of a row that was answered about, -1 of others; ``remarks``: what was not taken."""

    y: Ints
    remarks: tuple[str, ...]


def read_bound_answers(path: Path) -> list[Answer]:
    """The answers of a file of feedback events, one per line. Raises `VettingFileError`."""
    answers = []
    decoder = msgspec.json.Decoder(Answer)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise VettingFileError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            answers.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise VettingFileError(f"{path}: line {number}: is no answer {{id, label}}: {error}") from error
    return answers


def take_answers(answers: Iterable[Answer], about: About, schema: Schema, path: Path) -> Told:
    """What the answers say of the rows of the buffer in ``path``; the last answer counts.

    An answer with a digest is about the row that has it. One without is about the row with its id, and about none where
    rows that look different share the id: who can add rows could else have an answer hold for his own. Raises
    `TableError` for a label that is none of the classes.
    """
    code = {name: i for i, name in enumerate(schema.classes)}
    last: dict[tuple[str, str], str] = {}
    for answer in answers:
        last.pop((answer.id, answer.digest), None)  # said again, it comes last
        last[answer.id, answer.digest] = answer.label
    foreign = sorted(set(last.values()) - code.keys())
    if foreign:
        raise TableError(f"{path}: a vetted label {foreign[0]!r} is none of the classes {', '.join(schema.classes)}")
    y = np.full(len(about), -1, np.int64)
    rows: dict[str, list[int]] = {}
    for i in np.flatnonzero(np.isin(about.id, [ident for ident, _ in last])).tolist():
        rows.setdefault(str(about.id[i]), []).append(i)
    swapped = shared = 0
    for (ident, digest), label in last.items():
        there = rows.get(ident, [])
        meant = [i for i in there if digest in ("", about.digest[i])]
        if not digest and len({str(about.digest[i]) for i in meant}) > 1:
            shared += 1
        elif there and not meant:
            swapped += 1
        else:
            y[meant] = code[label]
    return Told(y, tuple(_remarks(swapped, shared)))


def by_id(told: Told, about: About) -> Told:
    """The answers that an id alone can carry: none to rows that share their id with a row that looks different."""
    _, of = np.unique(about.id, return_inverse=True)
    first = np.full(of.max(initial=-1) + 1, -1, np.int64)
    first[of[::-1]] = np.arange(len(about))[::-1]
    alike = about.digest == about.digest[first[of]]
    mixed = np.bincount(of[~alike], minlength=len(first))[of] > 0
    lost = len(np.unique(of[mixed & (told.y >= 0)]))
    remarks = (f"{lost} answers were not taken: rows that look different share their ids",) if lost else ()
    return Told(np.where(mixed, -1, told.y), (*told.remarks, *remarks))


def _remarks(swapped: int, shared: int) -> Iterable[str]:
    if swapped:
        yield f"{swapped} answers were not taken: the rows under their ids are not those that were asked about"
    if shared:
        yield f"{shared} answers were not taken: rows that look different share their ids; answer with the digest too"
