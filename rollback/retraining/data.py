"""What a retraining is made of: the trusted base, the new rows, and the rows that only the gate sees.

The schema of the last known good version (LKG) rules: its features, vocabularies and classes. Values that it has not
seen are UNSEEN.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from detectors.batch import Bools, Floats, Strings
from detectors.schema import Schema
from rollback.bundle import Bundle
from rollback.manifest import FeatureSpec
from rollback.reference import ReferenceRows, reference_rows
from rollback.registry.registry import Buffer
from rollback.repair.event_time import event_times
from rollback.sanitise.rows import Rows
from rollback.scorer import UNSEEN_TEXT
from rollback.tables.table import Column, Table, TableError, read_table
from rollback.train.split import hold_out

HELD_SHARE: Final = 0.25
"""This share of trusted rows is held out, by whole sessions."""
FEWEST_BASE: Final = 200
TRUE: Final = frozenset({"1", "true", "yes"})
FALSE: Final = frozenset({"0", "false", "no", ""})


class RetrainRefusedError(Exception):
    """A retraining cannot be done with what there is; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Data:
    """``base`` is trusted; ``new`` [n] is to be screened; no training sees ``holdout``.

    ``base_id`` and ``new_id`` are the rows' ids, "" for those of a reference.

    ``answered`` rows of the buffer carry the label that a trusted labeller gave them; they are in the base.
    ``reference`` is the candidate's own: vetted rows only, none of them in ``base``. ``unlabelled`` are the ids of rows
    without a label, which are left out. ``base_from`` and ``remarks`` say in words what was taken for what.
    """

    schema: Schema
    base: Rows
    base_id: Strings
    new: Rows
    new_id: Strings
    answered: Rows
    holdout: Rows
    reference: ReferenceRows
    unlabelled: Strings
    base_from: str
    remarks: tuple[str, ...]
    new_ts: Floats | None = None
    """When the new rows happened [n], seconds since the epoch; None where the buffer does not say."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The files of a retraining. ``trusted`` names the column that says which rows of the buffer are believed."""

    buffer: Buffer
    trusted: str | None = None
    holdout: Path | None = None


def gather(lkg: Bundle, known: Buffer | None, tables: Tables, vetted: dict[str, str], rng: np.random.Generator) -> Data:
    """Read and divide the rows; ``known`` is LKG's own training buffer, ``vetted`` {row id: true label} are answers.

    Vetted rows join the base with their true label. Raises `RetrainRefusedError` and `TableError`.
    """
    features, schema = lkg.manifest.features, lkg.schema
    table, rows, ids = read_buffer(tables.buffer, features, schema)
    if not len(rows):
        raise TableError(f"{tables.buffer.path}: has no rows")
    trusted = _trusted(table, tables.trusted)
    rows = _corrected(rows, ids, vetted, schema, tables.buffer.path)
    answered = np.isin(ids, list(vetted))
    labelled = rows.y >= 0
    held = _held(rows, trusted & labelled & ~answered, rng)
    remarks = _remarks(table, tables, labelled)

    parts, part_ids, reference, base_from = _lkg_rows(lkg, known, features, schema, rng)
    believed = (trusted | answered) & labelled & ~held
    if believed.any():
        parts.append(rows.take(believed))
        part_ids.append(ids[believed])
        base_from += f" and {np.count_nonzero(believed)} trusted rows of the new one"
    reference = [*reference, rows.take(held)] if held.any() else reference
    whole = ReferenceRows.concat(parts) if parts else rows.take(np.zeros(len(rows), dtype=np.bool_))
    base = as_rows(whole, schema, "base")
    if len(base) < FEWEST_BASE or len(np.unique(base.y)) < len(np.unique(rows.y[labelled])):
        raise RetrainRefusedError(_no_base(lkg, base, schema))

    kept = labelled & ~trusted & ~answered
    ts = event_times(table)
    everything = ReferenceRows.concat(reference) if reference else rows.take(np.zeros(len(rows), dtype=np.bool_))
    holdout = _holdout(tables, everything, features, schema)
    if not len(holdout):
        raise RetrainRefusedError(
            f"there are no trusted rows to judge a candidate by: version {lkg.manifest.version} has no labelled "
            "reference; give rows with --holdout, or say with --trusted which rows are believed"
        )
    return Data(
        schema=schema,
        base=base,
        base_id=np.concatenate(part_ids)[whole.y >= 0],
        new=as_rows(rows.take(kept), schema, "new"),
        new_id=ids[kept],
        answered=as_rows(rows.take(answered), schema, "answered"),
        holdout=holdout,
        reference=everything,
        unlabelled=ids[~labelled],
        base_from=base_from,
        remarks=tuple(remarks),
        new_ts=None if ts is None else ts[kept],
    )


def read_buffer(
    buffer: Buffer, features: Sequence[FeatureSpec], schema: Schema
) -> tuple[Table, ReferenceRows, Strings]:
    """A training buffer: its table, its rows as the schema codes them, and their ids. Raises `TableError`."""
    text = [c for c in (buffer.source, buffer.session, "id") if c is not None and c not in schema.names]
    table = read_table(buffer.path, text=text)
    roles = {"label": buffer.label, "source": buffer.source, "session": buffer.session}
    rows = reference_rows(table, features, schema.classes, **roles)  # type: ignore[arg-type]  # label is no None
    return table, rows, row_ids(table, [*schema.names, *filter(None, roles.values())])


def as_rows(rows: ReferenceRows, schema: Schema, name: str) -> Rows:
    """The labelled rows; one without a session is its own."""
    known = rows.take(rows.y >= 0)
    alone = np.char.add(f"\0{name} ", np.arange(len(known)).astype(np.str_))
    return Rows(schema, known.x, known.y, known.source, np.where(known.session == "", alone, known.session))


def row_ids(table: Table, taken: Sequence[str]) -> Strings:
    """The column ``id`` where there is one that is no feature or role (in ``taken``); a missing id is the row's digest.

    The digest is SHA-256 over the row's cells by name: the same for the same row in any format.
    """
    given = table.strings("id") if "id" in table.columns and "id" not in taken else np.full(len(table), "")
    names = [name for name in sorted(table.columns) if name != "id" or "id" in taken]
    cells = zip(*(table.strings(name).tolist() for name in names), strict=True)
    encode = msgspec.json.Encoder().encode
    digests = [
        ident or hashlib.sha256(encode([*zip(names, row, strict=True)])).hexdigest()
        for ident, row in zip(given.tolist(), cells, strict=True)
    ]
    return np.array(digests, dtype=np.str_)


def as_columns(rows: Rows, ids: Strings, label: str, source: str | None, session: str | None) -> dict[str, Column]:
    """Coded rows as a table that is coded alike when LKG's schema reads it again, with their ids for `row_ids`.

    Where a column ``id`` is something else, the ids are left out.
    """
    columns: dict[str, Column] = {}
    for j, feature in enumerate(rows.schema.features):
        values = rows.x[:, j]
        columns[feature.name] = values
        if feature.kind == "categorical":
            words = np.array([*feature.vocabulary, UNSEEN_TEXT, ""], dtype=np.str_)
            unseen = (values < 0) | (values >= len(feature.vocabulary))
            code = np.where(unseen, len(feature.vocabulary), values)
            columns[feature.name] = words[np.where(np.isnan(values), len(words) - 1, code).astype(np.int64)]
    columns[label] = np.array(rows.schema.classes, dtype=np.str_)[rows.y]
    if source is not None:
        columns[source] = rows.source
    if session is not None:
        columns[session] = np.where(np.char.startswith(rows.session, "\0"), "", rows.session)
    return columns if "id" in columns else {"id": ids, **columns}


def _trusted(table: Table, column: str | None) -> Bools:
    """Which rows the operator believes."""
    if column is None:
        return np.zeros(len(table), dtype=np.bool_)
    words = np.char.lower(table.strings(column))
    true = np.isin(words, list(TRUE))
    bad = np.flatnonzero(~true & ~np.isin(words, list(FALSE)))
    if len(bad):
        row = int(bad[0])
        raise TableError(f"{table.where(row, column)}: {str(words[row])[:40]!r} is neither true nor false")
    return true


def _corrected(rows: ReferenceRows, ids: Strings, vetted: dict[str, str], schema: Schema, path: Path) -> ReferenceRows:
    """The rows with the labels that a trusted labeller has given."""
    foreign = sorted(set(vetted.values()) - set(schema.classes))
    if foreign:
        raise TableError(f"{path}: a vetted label {foreign[0]!r} is none of the classes {', '.join(schema.classes)}")
    y = rows.y.copy()
    for ident, label in vetted.items():
        y[ids == ident] = schema.classes.index(label)
    return ReferenceRows(rows.x, y, rows.source, rows.session)


def _held(rows: ReferenceRows, among: Bools, rng: np.random.Generator) -> Bools:
    """Some of the rows in ``among``, by whole sessions."""
    held = np.zeros(len(rows), dtype=np.bool_)
    if among.any():
        alone = np.char.add("\0", np.arange(len(rows)).astype(np.str_))
        session = np.where(rows.session == "", alone, rows.session)[among]
        held[among] = hold_out(session, rows.y[among], int(HELD_SHARE * among.sum()), rng)
    return held


def _remarks(table: Table, tables: Tables, labelled: Bools) -> list[str]:
    remarks = []
    if tables.trusted is None and "trusted" in table.columns:
        remarks.append("the buffer has a column 'trusted' that nothing says to believe; --trusted trusted would")
    if not labelled.all():
        remarks.append(f"{np.count_nonzero(~labelled)} rows without a label were left out")
    return remarks


def _lkg_rows(
    lkg: Bundle, known: Buffer | None, features: Sequence[FeatureSpec], schema: Schema, rng: np.random.Generator
) -> tuple[list[ReferenceRows], list[Strings], list[ReferenceRows], str]:
    """Rows of LKG to train on with their ids, those that are held out, and where they are from."""
    reference = lkg.reference()
    version = lkg.manifest.version
    if known is not None:
        _, rows, ids = read_buffer(known, features, schema)
        return [rows], [ids], [] if reference is None else [reference], f"the training buffer of version {version}"
    if reference is None:
        return [], [], [], "nothing of the last known good version"
    held = _held(reference, reference.y >= 0, rng)
    nameless = np.full(np.count_nonzero(~held), "")
    from_where = f"three quarters of the reference of version {version}"
    return [reference.take(~held)], [nameless], [reference.take(held)], from_where


def _holdout(tables: Tables, held: ReferenceRows, features: Sequence[FeatureSpec], schema: Schema) -> Rows:
    if tables.holdout is None:
        return as_rows(held, schema, "holdout")
    named = tables.buffer
    table = read_table(tables.holdout)
    source = named.source if named.source in table.columns else None
    rows = reference_rows(table, features, schema.classes, label=named.label, source=source)
    return as_rows(rows, schema, "holdout")


def _no_base(lkg: Bundle, base: Rows, schema: Schema) -> str:
    found = f"{len(base)} rows of {len(np.unique(base.y))} classes" if len(base) else "no row"
    return (
        f"there is no trusted base to train from: {found}, and at least {FEWEST_BASE} of every class of the buffer are "
        f"needed ({', '.join(schema.classes)}). Version {lkg.manifest.version} has neither a training buffer nor a "
        "reference of that size: add it with registry add --buffer, or say with --trusted which rows are believed"
    )
