"""Tables that need not fit into memory: read a part at a time, and coded as the whole table would be."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.dtypes import StringDType

from rollback.tables.cells import Column, TableError, parse_floats
from rollback.tables.formats import (
    CHUNK_ROWS,
    arrow_column,
    csv_chunks,
    json_column,
    open_text,
    pyarrow,
    said_of,
    table_format,
)
from rollback.tables.table import Table

ROW_BYTES: Final = 2
"""A row of text has at least so many: its line's end, and a cell or a separator."""


def row_count(path: Path) -> int:
    """How many rows a file has. Raises `TableError`."""
    with said_of(path):
        if table_format(path) == "parquet":
            with _parquet(path) as file:
                return int(file.metadata.num_rows)
        return sum(1 for _ in _lines(path))


def fewer_than(path: Path, most: int) -> bool:
    """Whether a look at the file's size is enough to say that it has at most ``most`` rows."""
    plain = path.suffix.lower() not in {".gz", ".zst", ".parquet"}
    return plain and path.stat().st_size < ROW_BYTES * most


def read_chunks(path: Path, text: Collection[str] = (), rows: int = CHUNK_ROWS) -> Iterator[Table]:
    """The table of a file, ``rows`` rows at a time; columns named in ``text`` are not taken for numbers.

    What a column is (numbers or text) is decided by all of the file, which is read once more for it where it is no
    Parquet: the parts together are what `rollback.tables.table.read_table` gives. Raises `TableError`.
    """
    readers = {"csv": _csv, "ndjson": _ndjson, "parquet": _parquet_chunks}
    with said_of(path):
        yield from readers[table_format(path)](path, frozenset(text), rows)


def _lines(path: Path) -> Iterator[str]:
    with open_text(path) as file:
        if table_format(path) == "csv":
            rows = csv.reader(file)
            next(rows, None)
            yield from ("" for row in rows if row)
        else:
            yield from (line for line in file if line.strip())


def _csv(path: Path, text: frozenset[str], size: int) -> Iterator[Table]:
    kept: set[str] = set(text)
    for names, chunk, _ in _csv_parts(path):
        cells = zip(*chunk, strict=True)
        for name, column in zip(names, cells, strict=True):
            if name not in kept and parse_floats(np.array(column)) is None:
                kept.add(name)
    for names, chunk, lines in _csv_parts(path):
        for start in range(0, len(chunk), size):
            part = chunk[start : start + size]
            cells = zip(*part, strict=True)
            columns = {name: _cells(column, keep=name in kept) for name, column in zip(names, cells, strict=True)}
            yield Table(str(path), columns, np.array(lines[start : start + size], np.int64))


def _csv_parts(path: Path) -> Iterator[tuple[list[str], list[list[str]], list[int]]]:
    with open_text(path) as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if not header or len(set(header)) != len(header) or "" in header:
            raise TableError(f"{path}: line 1: the header must name every column once, got {header}")
        lines: list[int] = []
        for chunk in csv_chunks(path, rows, len(header), lines):
            yield header, chunk, lines
            lines.clear()


def _cells(column: Any, *, keep: bool) -> Column:
    texts = np.array(column, dtype=StringDType()).astype(f"U{max(1, *map(len, column))}")
    numbers = None if keep else parse_floats(texts)
    return texts if numbers is None else numbers


def _ndjson(path: Path, text: frozenset[str], size: int) -> Iterator[Table]:
    names: dict[str, bool] = {}
    for rows, _ in _json_parts(path, size):
        for row in rows:
            for name, value in row.items():
                names[name] = names.get(name, name in text) or isinstance(value, str)
    for rows, lines in _json_parts(path, size):
        at = np.array(lines, np.int64)
        columns = {n: json_column(path, n, [row.get(n) for row in rows], at, keep) for n, keep in names.items()}
        yield Table(str(path), columns, at)


def _json_parts(path: Path, size: int) -> Iterator[tuple[list[dict[str, Any]], list[int]]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    with open_text(path) as file:
        numbered = ((number, line) for number, line in enumerate(file, start=1) if line.strip())
        while part := list(islice(numbered, size)):
            rows = []
            for number, line in part:
                try:
                    rows.append(decoder.decode(line))
                except msgspec.DecodeError as error:
                    raise TableError(
                        f"{path}: line {number}: no JSON object with one value per column: {error}"
                    ) from error
            yield rows, [number for number, _ in part]


def _parquet(path: Path) -> Any:
    arrow, parquet = pyarrow(path)
    try:
        return parquet.ParquetFile(str(path.resolve()), pre_buffer=False)
    except arrow.ArrowInvalid as error:
        raise TableError(f"{path}: is no Parquet file: {error}") from error


def _parquet_chunks(path: Path, text: frozenset[str], size: int) -> Iterator[Table]:
    arrow, _ = pyarrow(path)
    start = 0
    with _parquet(path) as file:
        for batch in file.iter_batches(batch_size=size, use_threads=False):
            names = batch.schema.names
            columns = {n: arrow_column(path, arrow, n, arrow.chunked_array([batch[n]]), n in text) for n in names}
            yield Table(str(path), columns, np.arange(start + 1, start + batch.num_rows + 1), "row")
            start += batch.num_rows
