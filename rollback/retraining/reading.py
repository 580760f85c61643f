"""Reads training buffers of any size: files, and folders of training stores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from detectors.batch import Strings
from rollback.signing.keys import Keys
from rollback.store.index import Index
from rollback.store.store import Store
from rollback.store.survey import Survey
from rollback.store.table import store_chunks
from rollback.tables.chunks import fewer_than, read_chunks, row_count
from rollback.tables.draw import Drawn, draw, whole
from rollback.tables.table import Table, TableError, read_table

MOST_ROWS: Final = 2_000_000
"""Of a larger buffer so many rows are trained on, unless said otherwise."""


def read_at_most(
    path: Path,
    text: Collection[str],
    by: Sequence[str],
    ids: Callable[[Table], Strings],
    most: int = MOST_ROWS,
    keys: Keys | None = None,
) -> Drawn:
    """The rows of a file, or of a store that ``keys`` check; of more than ``most`` a stratified draw (`draw`).

    ``by`` are the columns of the strata, ``ids`` names rows. Raises `TableError` and `StoreError`.
    """
    if path.is_dir():
        return _of_store(Store(path, keys), by, ids, most)
    if fewer_than(path, most) or row_count(path) <= most:
        return whole([read_table(path, text)])
    return draw(partial(read_chunks, path, text), most, by, ids, bytes.fromhex(digest(path)))


def _of_store(store: Store, by: Sequence[str], ids: Callable[[Table], Strings], most: int) -> Drawn:
    index = store.index()
    if not index.segments:
        raise TableError(f"{store.folder}: has no rows")

    known = store.survey(index)

    def chunks() -> Iterator[Table]:
        return store_chunks(store, index, survey=known)

    few = sum(segment.rows for segment in index.segments) <= most
    drawn = whole(list(chunks())) if few else draw(chunks, most, by, ids, bytes.fromhex(index.head))
    return replace(drawn, note="; ".join(_notes(index, known)))


def _notes(index: Index, known: Survey) -> Iterator[str]:
    if index.signed is None:
        yield "the training store is not signed: who can write to it can replace it"
    if known.conflicts:
        yield (
            f"{known.conflicts} rows of the training store came under ids that other rows had taken and were left out: "
            "somebody wants to replace rows, or gives ids twice"
        )


def digest(path: Path, keys: Keys | None = None) -> str:
    """SHA-256 of a file; of a store the hash of its index's last entry, which every row of it has a part in."""
    if path.is_dir():
        return Store(path, keys).index().head
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
