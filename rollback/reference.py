"""The trusted reference window of a model version, as it lies in a bundle: compact columns without pickle."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Columns, Floats, Ints, Strings
from rollback.archive import read_archive
from rollback.manifest import FeatureSpec
from rollback.tables.float32 import as_written
from rollback.tables.table import Table, class_indices, encode

COLUMNS: Final = ("x", "y", "source", "session")
SERVED: Final = "served"
SCORE_COLUMN: Final = "served:"
"""Columns of a table of which the names start so hold the scores that were served, by class or by its position."""


@dataclass(frozen=True, slots=True)
class ReferenceRows(Columns):
    """Trusted samples: x[n,d] coded as in a batch, y[n] (class index, -1 unknown), source[n], session[n] ("" none).

    ``served`` [n,k] are the scores that were served for them, in class order; None where they are not known. They stand
    in for a model that nobody has given.
    """

    x: Floats
    y: Ints
    source: Strings
    session: Strings
    served: Floats | None = None

    def to_npz(self) -> bytes:
        """The columns as an uncompressed `.npz` archive; the same rows give the same bytes."""
        buffer = io.BytesIO()
        columns = {name: getattr(self, name) for name in (*COLUMNS, SERVED) if getattr(self, name) is not None}
        np.savez(buffer, allow_pickle=False, **columns)
        return buffer.getvalue()

    @classmethod
    def from_npz(cls, content: bytes) -> ReferenceRows:
        """Inverse of `to_npz`; raises `ValueError` for anything else, and for arrays that hold objects."""
        columns = read_archive(content, COLUMNS, (SERVED,))
        x, y, source, session = (columns[name] for name in COLUMNS)
        served = columns.get(SERVED)
        kinds = f"{x.dtype.kind}{y.dtype.kind}{source.dtype.kind}{session.dtype.kind}"
        if kinds != "fiUU" or x.ndim != 2:  # noqa: PLR2004 - rows and features
            raise ValueError(f"its columns are of shape {x.shape} and kinds {kinds}, which no reference has")
        if served is not None and (served.dtype.kind != "f" or served.ndim != 2):  # noqa: PLR2004 - rows and classes
            raise ValueError(f"its served scores are of shape {served.shape} and kind {served.dtype.kind}")
        scores = None if served is None else served.astype(np.float64)
        return cls(x.astype(np.float64), y.astype(np.int64), source, session, scores)


def reference_rows(
    table: Table,
    features: Sequence[FeatureSpec],
    classes: Sequence[str],
    *,
    label: str,
    source: str | None = None,
    session: str | None = None,
) -> ReferenceRows:
    """The rows of a table as a reference. Raises `rollback.tables.table.TableError`."""
    return ReferenceRows(
        x=as_written(encode(table, features)),
        y=class_indices(table, label, classes),
        source=_names(table, source, empty="-"),
        session=_names(table, session, empty=""),
        served=_served(table, classes),
    )


def score_columns(table: Table) -> tuple[str, ...]:
    """The columns that are no features but scores as served."""
    return tuple(name for name in table.columns if name.startswith(SCORE_COLUMN))


def _served(table: Table, classes: Sequence[str]) -> Floats | None:
    """Scores as served, where every class has its column and no cell is empty."""
    present = set(score_columns(table))
    for keys in (classes, range(len(classes))):
        names = [f"{SCORE_COLUMN}{key}" for key in keys]
        if present == set(names):
            served = np.column_stack([table.floats(name) for name in names])
            return None if np.isnan(served).any() else served
    return None


def _names(table: Table, column: str | None, empty: str) -> Strings:
    if column is None:
        return np.full(len(table), empty, dtype=np.str_)
    names = table.strings(column)
    return np.where(names == "", empty, names).astype(np.str_)
