"""Tables of samples as columns: a reference, a training buffer, rows to score. CSV, Parquet or NDJSON.

Numbers are float64 with NaN where missing, everything else is text with "" where missing.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from detectors.batch import Floats, Ints, Strings
from detectors.schema import UNSEEN
from rollback.manifest import FeatureSpec
from rollback.tables.cells import Column, TableError, parse_floats, show_number
from rollback.tables.formats import read_columns, table_format, write_table

__all__ = [
    "Column",
    "Table",
    "TableError",
    "class_indices",
    "encode",
    "infer_schema",
    "read_table",
    "show_number",
    "sorted_classes",
    "write_table",
]

IDENTIFIER_VALUES: Final = 1000
"""A text column with more distinct values than this, in more than half of the rows, names rows: it is no category."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length. ``line`` is where each row stands in the file (``unit`` "line", or "row" in Parquet)."""

    path: str
    columns: Mapping[str, Column]
    line: Ints
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.line)

    def column(self, name: str) -> Column:
        """The column as it was read."""
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise TableError(f"{self.path}: no column {name!r}{hint}; there are: {', '.join(self.columns)}")
        return self.columns[name]

    def strings(self, name: str) -> Strings:
        """The column as text; whole numbers are written without a fraction, missing as ""."""
        column = self.column(name)
        if column.dtype.kind == "U":
            return np.asarray(column, dtype=np.str_)
        values, inverse = np.unique(np.asarray(column, dtype=np.float64), return_inverse=True)
        return np.array([show_number(v) for v in values.tolist()], dtype=np.str_)[inverse]

    def floats(self, name: str) -> Floats:
        """The column as finite numbers or NaN; raises `TableError` for the first cell that is neither."""
        column = self.column(name)
        values = parse_floats(self.strings(name)) if column.dtype.kind == "U" else np.asarray(column, dtype=np.float64)
        if values is None:
            bad = next(i for i, text in enumerate(column.tolist()) if parse_floats(np.array([text])) is None)
            raise TableError(f"{self.where(bad, name)}: {str(column[bad])[:40]!r} is no number")
        infinite = np.flatnonzero(np.isinf(values))
        if len(infinite):
            raise TableError(f"{self.where(int(infinite[0]), name)}: the number is infinite; leave missing cells empty")
        return values

    def where(self, row: int, name: str) -> str:
        """Path, line and column of a cell, for messages."""
        return f"{self.path}: {self.unit} {int(self.line[row])}, column {name!r}"


def read_table(path: Path, text: Collection[str] = ()) -> Table:
    """Read a `.csv`, `.parquet` or `.ndjson` file (text formats also with `.gz` or `.zst` behind).

    A CSV column in which every cell that is not empty is a number is a column of numbers. ``text`` names columns that
    stay text whatever they hold (identifiers such as sessions). Raises `TableError`.
    """
    columns, lines = read_columns(path, frozenset(text))
    unit = "row" if table_format(path) == "parquet" else "line"
    return Table(str(path), columns, lines, unit)


def infer_schema(table: Table, exclude: Collection[str]) -> tuple[FeatureSpec, ...]:
    """Every column that is not in ``exclude`` as a feature, in the table's order.

    Text is categorical with the vocabulary sorted by frequency, numbers with exactly two distinct values are binary,
    other numbers numeric. ``exclude`` is what the caller's options name (label, source, session, ignored columns):
    no column is left out because of its name alone. Raises `TableError` where ``exclude`` names no column, where no
    feature is left, and for text that differs in nearly every row.
    """
    for name in exclude:
        table.column(name)
    features = tuple(_infer(table, name) for name in table.columns if name not in exclude)
    if not features:
        raise TableError(f"{table.path}: no feature is left of the columns {', '.join(table.columns)}")
    return features


def _infer(table: Table, name: str) -> FeatureSpec:
    column = table.column(name)
    if column.dtype.kind != "U":
        values = np.unique(table.floats(name))
        two = np.count_nonzero(~np.isnan(values)) == 2  # noqa: PLR2004 - what binary means
        return FeatureSpec(name, "binary" if two else "numeric")
    words, counts = np.unique(column[column != ""], return_counts=True)
    if len(words) > max(IDENTIFIER_VALUES, len(table) // 2):
        raise TableError(
            f"{table.path}: column {name!r} holds {len(words)} different texts in {len(table)} rows: it names rows "
            f"and is no category; leave it out (--ignore {name}) or give its vocabulary (--features)"
        )
    order = np.lexsort((words, -counts))
    return FeatureSpec(name, "categorical", tuple(words[order].tolist()), missing=None)


def encode(table: Table, features: Sequence[FeatureSpec]) -> Floats:
    """x[n,d] in the order of ``features``: numbers, codes into the vocabulary, UNSEEN, NaN where missing."""
    x = np.full((len(table), len(features)), np.nan)
    for j, feature in enumerate(features):
        if feature.kind == "categorical":
            x[:, j] = _codes(table.strings(feature.name), feature.vocabulary)
        else:
            x[:, j] = table.floats(feature.name)
    return x


def _codes(texts: Strings, vocabulary: Sequence[str]) -> Floats:
    code = {word: float(i) for i, word in enumerate(vocabulary)}
    words, inverse = np.unique(texts, return_inverse=True)
    codes = [np.nan if word == "" else code.get(word, UNSEEN) for word in words.tolist()]
    return np.array(codes, dtype=np.float64)[inverse]


def sorted_classes(labels: Strings) -> tuple[str, ...]:
    """The distinct labels, missing ones left out; numbers in numeric order, else by name.

    >>> sorted_classes(np.array(["10", "9", "", "9"]))
    ('9', '10')
    """
    names = [name for name in np.unique(labels).tolist() if name]
    if parse_floats(np.array(names, dtype=np.str_)) is None:
        return tuple(sorted(names))
    return tuple(sorted(names, key=float))


def class_indices(table: Table, label: str, classes: Sequence[str]) -> Ints:
    """The label column as class indices, -1 where it is empty; raises `TableError` for a label outside ``classes``."""
    names = table.strings(label)
    codes = _codes(names, classes)
    foreign = np.flatnonzero(codes == UNSEEN)
    if len(foreign):
        where = table.where(int(foreign[0]), label)
        raise TableError(f"{where}: label {str(names[foreign[0]])!r} is none of the classes {', '.join(classes)}")
    return np.where(np.isnan(codes), -1, codes).astype(np.int64)
