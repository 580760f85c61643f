"""Adds columns to a table's file and leaves every other cell as it is."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from rollback.tables.formats import open_parquet, open_text, table_format
from rollback.tables.table import Column, TableError, read_table, write_table


def append_columns(path: Path, out: Path, added: Mapping[str, Column]) -> None:
    """Write the rows of ``path`` with the ``added`` columns behind to ``out``. Raises `TableError`.

    Where both files are of one format, the other cells stay as they are written; else they are converted.
    """
    if path.resolve() == out.resolve():
        raise TableError(f"{out}: would overwrite the table that it is made from; choose another name")
    kind = table_format(path)
    if kind != table_format(out):
        columns = read_table(path).columns
        _refuse_repeated(path, columns, added)
        write_table(out, {**columns, **added})
        return
    {"csv": _append_csv, "ndjson": _append_ndjson, "parquet": _append_parquet}[kind](path, out, added)


def _refuse_repeated(path: Path, present: Any, added: Mapping[str, Column]) -> None:
    if repeated := [name for name in added if name in present]:
        raise TableError(f"{path}: has a column {repeated[0]!r} already, as an added column is called; rename it first")


def _append_csv(path: Path, out: Path, added: Mapping[str, Column]) -> None:
    with open_text(path) as source, open_text(out, "w") as target:
        rows = csv.reader(source)
        header = next(rows)
        _refuse_repeated(path, header, added)
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow([*header, *added])
        cells = zip(*(column.tolist() for column in added.values()), strict=True)
        writer.writerows(list(chain(row, more)) for row, more in zip(filter(None, rows), cells, strict=True))


def _append_ndjson(path: Path, out: Path, added: Mapping[str, Column]) -> None:
    with open_text(path) as source, open_text(out, "w") as target:
        cells = zip(*(column.tolist() for column in added.values()), strict=True)
        lines = (line for line in source if line.strip())
        for line, more in zip(lines, cells, strict=True):
            row = msgspec.json.decode(line)
            _refuse_repeated(path, row, added)
            row.update(zip(added, more, strict=True))
            target.write(msgspec.json.encode(row).decode() + "\n")


def _append_parquet(path: Path, out: Path, added: Mapping[str, Column]) -> None:
    arrow, parquet, table = open_parquet(path)
    _refuse_repeated(path, table.column_names, added)
    for name, column in added.items():
        table = table.append_column(name, arrow.array(column))
    with out.open("wb") as file:
        parquet.write_table(table, file)
