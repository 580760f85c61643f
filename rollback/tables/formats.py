"""The file formats of `rollback.tables.table`: CSV, NDJSON and Parquet, read to columns and written from them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, TypeAlias, cast

import msgspec
import numpy as np
import zstandard
from numpy.dtypes import StringDType

from detectors.batch import Ints, Strings
from rollback.tables.cells import Column, TableError, parse_floats, show_number

CHUNK_ROWS: Final = 20_000

Columns: TypeAlias = tuple[dict[str, Column], Ints]
"""Columns by name, and the line (in Parquet the row) of each of their cells."""


def table_format(path: Path) -> str:
    """`csv`, `ndjson` or `parquet`, by the file's name; raises `TableError` for any other.

    >>> table_format(Path("flows.csv.gz"))
    'csv'
    """
    endings = [s.lower() for s in path.suffixes if s.lower() not in {".gz", ".zst"}]
    known = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}
    if not endings or endings[-1] not in known:
        raise TableError(
            f"{path}: the name must end in .csv, .ndjson or .parquet (.gz or .zst may follow the first two)"
        )
    return known[endings[-1]]


def read_columns(path: Path, text: Collection[str]) -> Columns:
    """The columns of a file; columns named in ``text`` are not taken for numbers. Raises `TableError`."""
    readers = {"csv": _read_csv, "ndjson": _read_ndjson, "parquet": _read_parquet}
    reader = readers[table_format(path)]
    with said_of(path):
        return reader(path, text)


@contextmanager
def said_of(path: Path) -> Iterator[None]:
    """What keeps a file from being read, as a `TableError` that names it."""
    try:
        yield
    except (OSError, EOFError, zstandard.ZstdError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise TableError(f"{path}: cannot be read: {why}") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: is no UTF-8 text ({error.reason} at byte {error.start})") from error


def open_text(path: Path, mode: str = "r") -> IO[str]:
    """A text file for reading (``r``) or writing (``w``), unpacked or packed as its name says. UTF-8."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast("IO[str]", gzip.open(path, mode + "t", encoding="utf-8", newline=""))
    if suffix == ".zst":
        return cast("IO[str]", zstandard.open(path, mode + "t", encoding="utf-8", newline=""))
    return path.open(mode, encoding="utf-8-sig" if mode == "r" else "utf-8", newline="")


def _read_csv(path: Path, text: Collection[str]) -> Columns:
    with open_text(path) as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if not header or len(set(header)) != len(header) or "" in header:
            raise TableError(f"{path}: line 1: the header must name every column once, got {header}")
        if len(header) == 1 and (other := next((sign for sign in ";\t|" if sign in header[0]), None)):
            raise TableError(f"{path}: line 1: cells are parted by {other!r}; a comma is needed")
        parts: list[list[Any]] = [[] for _ in header]
        lines: list[int] = []
        for chunk in csv_chunks(path, rows, len(header), lines):
            for part, cells in zip(parts, zip(*chunk, strict=True), strict=True):
                part.append(np.array(cells, dtype=StringDType()))
    columns = {name: typed(part, keep=name in text) for name, part in zip(header, parts, strict=True)}
    return columns, np.array(lines, dtype=np.int64)


def csv_chunks(path: Path, rows: Any, width: int, lines: list[int]) -> Iterator[list[list[str]]]:
    """Chunks of rows of ``width`` cells; ``lines`` receives the line of each. Empty lines are skipped."""
    try:
        while chunk := list(islice(_csv_rows(path, rows, width, lines), CHUNK_ROWS)):
            yield chunk
    except csv.Error as error:
        raise TableError(f"{path}: line {rows.line_num}: {error}") from error


def _csv_rows(path: Path, rows: Any, width: int, lines: list[int]) -> Iterator[list[str]]:
    for row in rows:
        if not row:
            continue
        if len(row) != width:
            raise TableError(f"{path}: line {rows.line_num}: {len(row)} cells, but the header names {width} columns")
        lines.append(rows.line_num)
        yield row


def typed(parts: Sequence[Any], *, keep: bool) -> Column:
    """One column of texts as numbers where all are numbers, unless it is to ``keep`` its text."""
    if not parts:
        return np.zeros(0, dtype=np.str_) if keep else np.zeros(0)
    cells = np.concatenate(parts)
    texts: Strings = cells.astype(f"U{max(1, int(np.strings.str_len(cells).max()))}")
    if keep:
        return texts
    numbers = parse_floats(texts)
    return texts if numbers is None else numbers


def _read_ndjson(path: Path, text: Collection[str]) -> Columns:
    decoder = msgspec.json.Decoder(dict[str, Any])
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                rows.append(decoder.decode(line))
            except msgspec.DecodeError as error:
                raise TableError(f"{path}: line {number}: no JSON object with one value per column: {error}") from error
            lines.append(number)
    names = list(dict.fromkeys(name for row in rows for name in row))
    at = np.array(lines, dtype=np.int64)
    columns = {name: json_column(path, name, [row.get(name) for row in rows], at, name in text) for name in names}
    return columns, at


def json_column(path: Path, name: str, values: Sequence[Any], lines: Any, keep: bool) -> Column:  # noqa: FBT001 - see below
    """Numbers and booleans as numbers, unless there is a text among them or the column is to ``keep`` its text."""
    kinds = {type(v) for v in values} - {type(None)}
    if not keep and kinds <= {int, float, bool}:
        return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)
    if other := kinds - {int, float, bool, str}:
        row = next(i for i, v in enumerate(values) if type(v) in other)
        raise TableError(f"{path}: line {lines[row]}, column {name!r}: a {type(values[row]).__name__}, no single value")
    return np.array([_text(v) for v in values], dtype=np.str_)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return show_number(float(value)) if isinstance(value, float | bool) else str(value)


def pyarrow(path: Path) -> tuple[Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`. Raises `TableError` where they are missing."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra: only needed for Parquet
        import pyarrow.parquet as pq  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise TableError(f"{path}: Parquet needs pyarrow; install it with: pip install 'tocsin[data]'") from error
    return pa, pq


def open_parquet(path: Path) -> tuple[Any, Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`, and the file's table. Raises `TableError`."""
    arrow, parquet = pyarrow(path)
    try:
        with path.open("rb") as file:  # pyarrow takes a bare name for an address
            # one thread: the pool's threads may abort the process when an error ends it
            return arrow, parquet, parquet.read_table(file, use_threads=False, pre_buffer=False)
    except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
        raise TableError(f"{path}: is no Parquet file: {error}") from error


def _read_parquet(path: Path, text: Collection[str]) -> Columns:
    arrow, _, table = open_parquet(path)
    columns = {name: arrow_column(path, arrow, name, table[name], name in text) for name in table.column_names}
    return columns, np.arange(1, table.num_rows + 1, dtype=np.int64)


def arrow_column(path: Path, arrow: Any, name: str, column: Any, keep: bool) -> Column:  # noqa: FBT001 - one of many columns
    """A column of Arrow as numbers, or as text where it is none or is to ``keep`` its text. Raises `TableError`.

    A float32 is the decimal that it is written as (0.02, and not 0.019999999552965164): the same value in any format.
    """
    kind = column.type.value_type if arrow.types.is_dictionary(column.type) else column.type
    is_number = arrow.types.is_integer(kind) or arrow.types.is_floating(kind) or arrow.types.is_decimal(kind)
    is_number = is_number or arrow.types.is_boolean(kind) or arrow.types.is_null(kind)
    target = arrow.float64() if is_number and not keep else arrow.string()
    try:
        values = column.cast(kind)
        if target != arrow.string() and arrow.types.is_float32(kind):
            values = values.cast(arrow.string())
        values = values.cast(target, safe=False)
    except arrow.ArrowNotImplementedError as error:
        raise TableError(f"{path}: column {name!r} is of type {column.type}; numbers and texts are read") from error
    if target == arrow.string():
        return np.array(["" if v is None else v for v in values.to_pylist()], dtype=np.str_)
    return np.array(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def write_table(path: Path, columns: Mapping[str, Column]) -> None:
    """Write columns as `.csv`, `.ndjson` or `.parquet`; missing is an empty cell or null. Raises `TableError`."""
    kind = table_format(path)
    if kind == "parquet":
        arrow, parquet = pyarrow(path)
        arrays = {name: arrow.array(np.asarray(c).tolist(), from_pandas=True) for name, c in columns.items()}
        with path.open("wb") as packed:
            parquet.write_table(arrow.table(arrays), packed)
        return
    cells = [[_cell(v, kind) for v in np.asarray(c).tolist()] for c in columns.values()]
    with open_text(path, "w") as file:
        if kind == "ndjson":
            encoder = msgspec.json.Encoder()
            for row in zip(*cells, strict=True):
                file.write(encoder.encode(dict(zip(columns, row, strict=True))).decode() + "\n")
            return
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*cells, strict=True))


def _cell(value: float | str, kind: str) -> Any:
    if kind == "csv":
        return value if isinstance(value, str) else show_number(float(value))
    return None if value != value else value  # noqa: PLR0124 - NaN is the one value that differs from itself
