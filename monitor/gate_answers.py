"""A labeller's answers about rows of a candidate's training buffer, bound to what the rows are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rollback.bundle import Bundle
from rollback.registry.registry import Buffer
from rollback.retraining.about import about_rows
from rollback.retraining.answers import VettingFileError, by_id, read_bound_answers, take_answers
from rollback.retraining.data import read_buffer


@dataclass(frozen=True, slots=True)
class Bound:
    """``codes`` {row id: true class}, ``digests`` {row id: digest} of the rows that no different row shares the id of.

    ``remarks`` say which answers were not taken.
    """

    codes: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def bind(vetting: Path | None, candidate: Bundle, buffer: Buffer | None) -> Bound:
    """Answers about rows of the candidate's buffer; with a digest, about the row that has it and no other.

    Whoever adds rows chooses their ids: an answer about one row must not hold for another. Raises `VettingFileError`
    and `rollback.tables.table.TableError`.
    """
    answers = [] if vetting is None else read_bound_answers(vetting)
    classes = candidate.schema.classes
    foreign = sorted({answer.label for answer in answers} - set(classes))
    if foreign:
        raise VettingFileError(f"{vetting}: label {foreign[0]!r} is none of the classes {', '.join(classes)}")
    if buffer is None:
        return Bound(remarks=("there is no buffer of rows that the answers could be about",) if answers else ())
    table, rows, ids = read_buffer(buffer, candidate.manifest.features, candidate.schema)
    about = about_rows(table, rows, ids, candidate.schema, candidate.schema.names)
    told = by_id(take_answers(answers, about, candidate.schema, buffer.path), about)
    digests: dict[str, str] = {}
    mixed = set()
    for ident, digest in zip(about.id.tolist(), about.digest.tolist(), strict=True):
        if digests.setdefault(ident, digest) != digest:
            mixed.add(ident)
    for ident in mixed:
        del digests[ident]
    remarks = told.remarks
    if mixed:
        remarks += (f"{len(mixed)} ids are shared by rows that look different: nothing is asked about these rows",)
    known = np.flatnonzero(told.y >= 0).tolist()
    return Bound({str(about.id[row]): int(told.y[row]) for row in known}, digests, remarks)
