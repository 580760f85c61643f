"""What a retraining is made of: the trusted base, the new rows, and the rows that only the gate sees.

The schema of the last known good version (LKG) rules: its features, vocabularies and classes. Values that it has not
seen are UNSEEN.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from detectors.batch import Bools, Ints, Strings
from detectors.schema import Schema
from rollback.benign import Benign, BenignClassError, benign_class
from rollback.bundle import Bundle
from rollback.manifest import FeatureSpec
from rollback.reference import ReferenceRows, reference_rows
from rollback.registry.registry import Buffer
from rollback.retraining.about import About, about_rows, trusted_rows
from rollback.retraining.answers import Answer, take_answers
from rollback.retraining.decisions import Decided, rejected
from rollback.retraining.reading import MOST_ROWS, read_at_most
from rollback.retraining.unlearned import NOTHING, Earlier
from rollback.sanitise.rows import Rows
from rollback.scorer import UNSEEN_TEXT
from rollback.signing.keys import Keys
from rollback.store.table import LABEL, TRUSTED
from rollback.tables.draw import Drawn
from rollback.tables.table import Column, Table, TableError, read_table
from rollback.train.split import hold_out

HELD_SHARE: Final = 0.25
"""This share of trusted rows is held out, by whole sessions."""
FEWEST_BASE: Final = 200


class RetrainRefusedError(Exception):
    """A retraining cannot be done with what there is; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Data:
    """``base`` is trusted; ``new`` [n] is to be screened; no training sees ``holdout``.

    ``base_id`` and ``new_id`` are the rows' ids, "" for those of a reference.

    ``new_about`` and ``answered_about`` say whose rows they are, ``believed`` [rows of the buffer in base or holdout]
    likewise, and ``held`` which of those no training sees.
    ``answered`` rows of the buffer carry the label that a trusted labeller gave them. They are in the base, but for
    those that were ``confirmed`` [answered rows] as benign: those are ``vouched`` [n] for among the new ones (None:
    none), for rows of a clean-label attack have the right label, and wait with the slice that they are in.
    ``given`` are the answered rows with the labels that they came with. ``drawn`` says what of a large buffer was read.
    ``reference`` is the candidate's own: vetted rows only, none of them in ``base``. ``unlabelled`` are the rows
    without a label, which are left out. ``base_from`` and ``remarks`` say in words what was taken for what.
    ``benign`` is the class that lets things pass: whoever works on these rows takes it from here.
    ``earlier`` are the patterns that the last known good version had unlearned. ``unproven`` [rows of the base] are
    answered ones, those ``screened_too`` [answered rows] (None: none): nothing is screened by them. What screens find
    stays the same whatever is answered, so that answers meet the slices that they were asked about.
    """

    schema: Schema
    base: Rows
    base_id: Strings
    new: Rows
    new_id: Strings
    answered: Rows
    holdout: Rows
    reference: ReferenceRows
    unlabelled: About
    base_from: str
    remarks: tuple[str, ...]
    new_about: About
    answered_about: About
    given: Rows
    believed: About
    held: Bools
    drawn: Drawn
    benign: Benign
    earlier: Earlier = NOTHING
    unproven: Bools | None = None
    screened_too: Bools | None = None
    confirmed: Bools | None = None
    vouched: Bools | None = None

    @property
    def screening_base(self) -> Rows:
        """What new rows are screened by."""
        return self.base if self.unproven is None else self.base.take(~self.unproven)

    @property
    def screened(self) -> Rows:
        """The new rows, and behind them answered ones with the labels that they came with: as before the answers."""
        if self.screened_too is None or not self.screened_too.any():
            return self.new
        own = self.screened_too
        origin = self.answered_about.origin[own]
        return Rows.concat([self.new, replace(self.answered.take(own), y=self.given.y[own], origin=origin)])


@dataclass(frozen=True, slots=True)
class Tables:
    """The files of a retraining. ``trusted`` names the column that says which rows of the buffer are believed.

    Of a buffer with more than ``most_rows`` rows as many are drawn (`rollback.tables.draw`). A buffer that is a folder
    is a training store, which ``keys`` check.
    """

    buffer: Buffer
    trusted: str | None = None
    holdout: Path | None = None
    most_rows: int = MOST_ROWS
    keys: Keys | None = None

    @classmethod
    def of(
        cls,
        buffer: Buffer,
        trusted: str | None = None,
        holdout: Path | None = None,
        most_rows: int = MOST_ROWS,
        keys: Keys | None = None,
    ) -> Tables:
        """A file's columns are those that are named; a training store has its own, and whom its operator trusts."""
        if buffer.path.is_dir():
            return cls(Buffer(buffer.path, LABEL, "source", "session"), TRUSTED, holdout, most_rows, keys)
        return cls(buffer, trusted, holdout, most_rows)


def gather(
    lkg: Bundle,
    known: Buffer | None,
    tables: Tables,
    vetted: Iterable[Answer],
    rng: np.random.Generator,
    benign: str | None = None,
    decisions: Sequence[Decided] = (),
) -> Data:
    """Read and divide the rows; ``known`` is LKG's own training buffer, ``vetted`` are a trusted labeller's answers.

    Vetted rows join the base with their true label. ``benign`` names the class that lets things pass, unless LKG's
    manifest does. Rows that the ``decisions`` reject are in no base, whoever else believes them. Raises
    `RetrainRefusedError`, `TableError` and `rollback.store.segments.StoreError`.
    """
    features, schema = lkg.manifest.features, lkg.schema
    drawn = read_drawn(tables.buffer, features, schema, tables)
    table = drawn.table
    rows, ids = coded(drawn.table, tables.buffer, features, schema)
    if not len(rows):
        raise TableError(f"{tables.buffer.path}: has no rows")
    trusted = trusted_rows(table, tables.trusted)
    about = about_rows(table, rows, ids, schema, _taken(tables.buffer, schema))
    told = take_answers(vetted, about, schema, tables.buffer.path)
    out = rejected(decisions, about)
    believed_too = int(np.count_nonzero(out & (trusted | (told.y >= 0))))
    trusted &= ~out
    given, answered = rows, (told.y >= 0) & ~out
    rows = ReferenceRows(rows.x, np.where(answered, told.y, rows.y), rows.source, rows.session)
    labelled = rows.y >= 0
    held = _held(rows, trusted & labelled & ~answered, rng)
    remarks = [*_remarks(table, tables, labelled), *_draw_remarks(drawn), *told.remarks]

    parts, part_ids, reference, base_from, lost = _lkg_rows(lkg, known, tables, rng, decisions)
    if believed_too or lost:
        remarks.append(_rejected_too(believed_too, lost, lkg))
    lets_pass = _benign(benign, lkg, np.concatenate([*(p.y for p in parts), rows.y[(trusted | answered) & ~held]]))
    remarks += [lets_pass.remark] if lets_pass.remark is not None else []
    confirmed = answered & (given.y == rows.y) & (rows.y == schema.classes.index(lets_pass.name)) & ~trusted
    believed = (trusted | answered) & labelled & ~held & ~confirmed
    if believed.any():
        parts.append(rows.take(believed))
        part_ids.append(ids[believed])
        base_from += f" and {np.count_nonzero(believed)} trusted rows of the new one"
    reference = [*reference, rows.take(held)] if held.any() else reference
    whole = ReferenceRows.concat(parts) if parts else rows.take(np.zeros(len(rows), dtype=np.bool_))
    base = as_rows(whole, schema, "base")
    if len(base) < FEWEST_BASE or len(np.unique(base.y)) < len(np.unique(rows.y[labelled])):
        raise RetrainRefusedError(_no_base(lkg, base, schema))

    mine = answered & ~confirmed
    if not _carries(base, unproven := _last(base, mine[believed])):
        mine = np.zeros(len(rows), np.bool_)  # the base lives on the answers
        unproven = _last(base, mine[believed])
    kept = labelled & ~trusted & (~answered | confirmed)
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
        new=replace(as_rows(rows.take(kept), schema, "new"), id=ids[kept], origin=about.origin[kept]),
        new_id=ids[kept],
        answered=replace(as_rows(rows.take(answered), schema, "answered"), id=ids[answered]),
        holdout=holdout,
        reference=everything,
        unlabelled=about.take(~labelled),
        base_from=base_from,
        remarks=tuple(remarks),
        new_about=about.take(kept),
        answered_about=about.take(answered),
        given=Rows(schema, given.x, given.y, given.source, given.session).take(answered),
        believed=about.take(believed | held),
        held=held[believed | held],
        drawn=drawn,
        benign=lets_pass,
        earlier=Earlier.of(lkg.manifest),
        unproven=unproven,
        screened_too=(mine & (given.y >= 0))[answered],
        confirmed=confirmed[answered],
        vouched=confirmed[kept],
    )


def _benign(named: str | None, lkg: Bundle, y: Ints) -> Benign:
    """The class that lets things pass, as the request or else LKG's manifest names it; y[n] of all trusted rows."""
    try:
        return benign_class(named or lkg.manifest.named_benign, y[y >= 0], lkg.schema.classes)
    except BenignClassError as error:
        raise RetrainRefusedError(str(error)) from error


def _last(base: Rows, mask: Bools) -> Bools:
    """A mask of the last rows of the base, as one of all."""
    return np.concatenate([np.zeros(len(base) - len(mask), np.bool_), mask])


def _carries(base: Rows, without: Bools) -> bool:
    """Whether the base can judge new rows without those."""
    left = base.y[~without]
    return len(left) >= FEWEST_BASE and len(np.unique(left)) == len(np.unique(base.y))


def read_drawn(buffer: Buffer, features: Sequence[FeatureSpec], schema: Schema, tables: Tables) -> Drawn:
    """The rows of a training buffer, of a large one a draw by source and label. Raises `TableError`."""
    taken = _taken(buffer, schema)
    text = [c for c in (buffer.source, buffer.session, "id", "origin") if c is not None and c not in schema.names]
    text += [f.name for f in features if f.kind == "categorical"] if buffer.path.is_dir() else []
    by = [
        c for c in (tables.trusted if buffer is tables.buffer else None, buffer.source, buffer.label) if c is not None
    ]
    return read_at_most(buffer.path, text, by, lambda t: row_ids(t, taken), tables.most_rows, tables.keys)


def coded(
    table: Table, buffer: Buffer, features: Sequence[FeatureSpec], schema: Schema
) -> tuple[ReferenceRows, Strings]:
    """The rows of a training buffer as the schema codes them, and their ids. Raises `TableError`."""
    roles = {"label": buffer.label, "source": buffer.source, "session": buffer.session}
    rows = reference_rows(table, features, schema.classes, **roles)  # type: ignore[arg-type]  # label is no None
    return rows, row_ids(table, _taken(buffer, schema))


def _taken(buffer: Buffer, schema: Schema) -> list[str]:
    return [*schema.names, *filter(None, (buffer.label, buffer.source, buffer.session))]


def read_buffer(
    buffer: Buffer, features: Sequence[FeatureSpec], schema: Schema
) -> tuple[Table, ReferenceRows, Strings]:
    """A whole training buffer: its table, its rows as the schema codes them, and their ids. Raises `TableError`."""
    text = [c for c in (buffer.source, buffer.session, "id") if c is not None and c not in schema.names]
    table = read_table(buffer.path, text=text)
    return table, *coded(table, buffer, features, schema)


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
    if np.all(given != ""):
        return given
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


def _rejected_too(believed: int, of_lkg: int, lkg: Bundle) -> str:
    """Said where a decision goes before somebody else's word."""
    said = [f"{believed} that answers or --trusted vouch for"] if believed else []
    said += [f"{of_lkg} of the training buffer of version {lkg.manifest.version}"] if of_lkg else []
    return f"rows that were rejected in a review are not believed: {' and '.join(said)}; tocsin review accept undoes it"


def _draw_remarks(drawn: Drawn) -> list[str]:
    remarks = [drawn.note] if drawn.note else []
    if drawn.strata:
        remarks.append(
            f"of {drawn.total} rows {len(drawn.table)} were drawn, of every source and label its share (by a hash of "
            "the row's id that only the whole buffer decides); the others were not looked at"
        )
    return remarks


def _lkg_rows(
    lkg: Bundle, known: Buffer | None, tables: Tables, rng: np.random.Generator, decisions: Sequence[Decided]
) -> tuple[list[ReferenceRows], list[Strings], list[ReferenceRows], str, int]:
    """Rows of LKG to train on with their ids, those that are held out, where they are from, how many are rejected."""
    reference = lkg.reference()
    version = lkg.manifest.version
    if known is not None:
        features, schema = lkg.manifest.features, lkg.schema
        drawn = read_drawn(known, features, schema, tables)
        rows, ids = coded(drawn.table, known, features, schema)
        stay = np.ones(len(rows), np.bool_)
        if decisions:  # else nobody asks whose rows they are
            stay = ~rejected(decisions, about_rows(drawn.table, rows, ids, schema, _taken(known, schema)))
        held_out = [] if reference is None else [reference]
        from_where = f"the training buffer of version {version}"
        return [rows.take(stay)], [ids[stay]], held_out, from_where, int(np.count_nonzero(~stay))
    if reference is None:
        return [], [], [], "nothing of the last known good version", 0
    held = _held(reference, reference.y >= 0, rng)
    nameless = np.full(np.count_nonzero(~held), "")
    from_where = f"three quarters of the reference of version {version}"
    return [reference.take(~held)], [nameless], [reference.take(held)], from_where, 0


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
