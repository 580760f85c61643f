"""What is known of buffer rows besides what a model sees: whose they are, of when, and a digest that binds them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from detectors.batch import Bools, Columns, Floats, Strings
from detectors.schema import Schema
from rollback.reference import ReferenceRows
from rollback.repair.event_time import event_times
from rollback.scorer import UNSEEN_TEXT
from rollback.tables.table import Table, TableError

TRUE: Final = frozenset({"1", "true", "yes"})
FALSE: Final = frozenset({"0", "false", "no", ""})


@dataclass(frozen=True, slots=True)
class About(Columns):
    """Of n rows: ``id``, ``digest`` (`content_digests`), ``origin`` of the label ("-" unknown), ``ts`` (NaN unknown).

    ``session`` is that of the row, a row of its own where it has none; ``disputed``: its labels contradict each other.
    """

    id: Strings
    digest: Strings
    source: Strings
    origin: Strings
    session: Strings
    ts: Floats
    disputed: Bools


def about_rows(table: Table, rows: ReferenceRows, ids: Strings, schema: Schema, taken: Collection[str]) -> About:
    """Of the rows of a table, from its columns ``origin``, ``ts`` and ``disputed`` unless they are ``taken``.

    A ``ts`` that tells no time (`event_times`) is not known: nothing is refused for it.
    """
    given = {name for name in ("origin", "ts", "disputed") if name in table.columns and name not in taken}
    origin = table.strings("origin") if "origin" in given else np.full(len(table), "-")
    ts = np.full(len(table), np.nan)
    if "ts" in given and (told := event_times(table)) is not None:
        ts = told
    disputed = np.zeros(len(table), dtype=np.bool_)
    if "disputed" in given:
        disputed = np.isin(np.char.lower(table.strings("disputed")), list(TRUE))
    own = np.char.add("\0", np.arange(len(table)).astype(np.str_))
    return About(
        id=ids,
        digest=content_digests(rows, schema),
        source=rows.source.copy(),
        origin=np.where(origin == "", "-", origin),
        session=np.where(rows.session == "", own, rows.session),
        ts=np.asarray(ts, np.float64),
        disputed=np.asarray(disputed, np.bool_),
    )


def trusted_rows(table: Table, column: str | None) -> Bools:
    """Which rows the operator believes: none where no column says so. Raises `TableError`."""
    if column is None:
        return np.zeros(len(table), dtype=np.bool_)
    words = np.char.lower(table.strings(column))
    true = np.isin(words, list(TRUE))
    bad = np.flatnonzero(~true & ~np.isin(words, list(FALSE)))
    if len(bad):
        row = int(bad[0])
        raise TableError(f"{table.where(row, column)}: {str(words[row])[:40]!r} is neither true nor false")
    return true


def content_digests(rows: ReferenceRows, schema: Schema) -> Strings:
    """SHA-256 of each row's features by name, given label and source: the same row in any file, order or format.

    A decision about a row is bound to it: another value, label or source under the same id is another row.
    """
    shown = [_shown(rows.x[:, j], feature.vocabulary, feature.kind) for j, feature in enumerate(schema.features)]
    labels = [schema.classes[y] if y >= 0 else None for y in rows.y.tolist()]
    order = sorted(range(len(schema.names)), key=lambda j: schema.names[j])
    names = [schema.names[j] for j in order]
    encode = msgspec.json.Encoder().encode
    cells = zip(*(shown[j] for j in order), strict=True)
    digests = [
        hashlib.sha256(encode([names, row, label, source])).hexdigest()
        for row, label, source in zip(cells, labels, rows.source.tolist(), strict=True)
    ]
    return np.array(digests, dtype=np.str_)


def _shown(column: Floats, vocabulary: Sequence[str], kind: str) -> list[float | str | None]:
    if kind != "categorical":
        return [None if v != v else v + 0.0 for v in column.tolist()]  # noqa: PLR0124 - NaN; -0.0 is 0.0
    words: Mapping[float, str] = {float(i): word for i, word in enumerate(vocabulary)}
    return [None if v != v else words.get(v, UNSEEN_TEXT) for v in column.tolist()]  # noqa: PLR0124 - NaN
