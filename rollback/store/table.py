"""A training store as a table: what `tocsin retrain --buffer STORE` and `tocsin store export` read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from rollback.store.index import Index
from rollback.store.row import Row, Said, disputed, label_of
from rollback.store.store import Store
from rollback.store.survey import Survey
from rollback.tables.formats import CHUNK_ROWS
from rollback.tables.table import Column, Table, show_number

LABEL, TRUSTED, DISPUTED = "label", "trusted", "disputed"
ROLES = ("id", "ts", "source", "origin", "session", LABEL, TRUSTED, DISPUTED)
"""The columns besides the features; ``origin`` is that of the label, where there is one."""


def store_chunks(store: Store, index: Index, rows: int = CHUNK_ROWS, survey: Survey | None = None) -> Iterator[Table]:
    """The rows with the labels that hold (`rollback.store.row.label_of`), ``rows`` at a time, in the store's order.

    A column of features is text where any of its values is; ``trusted`` is what the operator named, and nothing else.
    ``survey`` is that of the index, if it was made before. Raises `rollback.store.segments.StoreError`.
    """
    known = store.survey(index) if survey is None else survey
    named, origins = store.trusted_rows(index), index.origins
    left = store.rows(index, known)
    start = 0
    while part := list(islice(left, rows)):
        columns = _about(part, origins, named) | _features(part, known.texts)
        yield Table(str(store.folder), columns, np.arange(start + 1, start + len(part) + 1), "row")
        start += len(part)


def _features(part: Sequence[Row], texts: Mapping[str, bool]) -> dict[str, Column]:
    names = tuple(texts)
    if all(tuple(row.features) == names for row in part):  # as almost always: turned into columns at once
        cells = [*zip(*(row.features.values() for row in part), strict=True)]
    else:
        cells = [tuple(row.features.get(name) for row in part) for name in names]
    return {name: _column(values, texts[name]) for name, values in zip(names, cells, strict=True)}


def _about(part: Sequence[Row], origins: frozenset[str], named: Mapping[tuple[str, str], str]) -> dict[str, Column]:
    held = [_held(row, origins, named) for row in part]
    return {
        "id": _words([row.id for row in part]),
        "ts": np.array([row.ts for row in part]),
        "source": _words([row.source for row in part]),
        "origin": _words([row.origin if s is None else s.origin for row, (s, _, _) in zip(part, held, strict=True)]),
        "session": _words([row.session for row in part]),
        LABEL: _words([label for _, label, _ in held]),
        TRUSTED: _words(["true" if trusted else "false" for _, _, trusted in held]),
        DISPUTED: _words(["true" if disputed(row) else "false" for row in part]),
    }


def _held(row: Row, origins: frozenset[str], named: Mapping[tuple[str, str], str]) -> tuple[Said | None, str, bool]:
    """Who said the label that holds, that label, and whether it is trusted.

    A named row keeps the label that it was named with unless a trusted origin says otherwise: what anybody else says of
    it later is not what the operator believed.
    """
    said = label_of(row, origins)
    if said is not None and said.origin in origins:
        return said, said.label, True
    label = named.get((row.id, row.digest))
    if label is None:
        return said, "" if said is None else said.label, False
    by = next((each for each in reversed(row.labels) if each.label == label), None)
    return by, label, True


def _words(values: Sequence[str]) -> Column:
    return np.array(values, dtype=np.str_)


def _column(values: Sequence[float | str | None], text: bool) -> Column:  # noqa: FBT001 - one of many columns
    if not text:
        return np.array(values, dtype=np.float64)  # None is NaN
    return _words(["" if v is None else v if isinstance(v, str) else show_number(float(v)) for v in values])
