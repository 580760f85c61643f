"""The trusted reference window of a model version, as it lies in a bundle: compact columns without pickle."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Columns, Floats, Ints, Strings
from rollback.manifest import FeatureSpec
from rollback.table import Table, class_indices, encode

COLUMNS: Final = ("x", "y", "source", "session")


@dataclass(frozen=True, slots=True)
class ReferenceRows(Columns):
    """Trusted samples: x[n,d] coded as in a batch, y[n] (class index, -1 unknown), source[n], session[n] ("" none)."""

    x: Floats
    y: Ints
    source: Strings
    session: Strings

    def to_npz(self) -> bytes:
        """The columns as an uncompressed `.npz` archive; the same rows give the same bytes."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, x=self.x, y=self.y, source=self.source, session=self.session)
        return buffer.getvalue()

    @classmethod
    def from_npz(cls, content: bytes) -> ReferenceRows:
        """Inverse of `to_npz`; raises `ValueError` for anything else, and for arrays that hold objects."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                x, y, source, session = (archive[name] for name in COLUMNS)
        except (KeyError, OSError, EOFError) as error:
            raise ValueError(f"no archive of the columns {', '.join(COLUMNS)}: {error}") from error
        kinds = f"{x.dtype.kind}{y.dtype.kind}{source.dtype.kind}{session.dtype.kind}"
        if kinds != "fiUU" or x.ndim != 2:  # noqa: PLR2004 - rows and features
            raise ValueError(f"its columns are of shape {x.shape} and kinds {kinds}, which no reference has")
        return cls(x.astype(np.float64), y.astype(np.int64), source, session)


def reference_rows(
    table: Table,
    features: Sequence[FeatureSpec],
    classes: Sequence[str],
    *,
    label: str,
    source: str | None = None,
    session: str | None = None,
) -> ReferenceRows:
    """The rows of a table as a reference. Raises `rollback.table.TableError`."""
    return ReferenceRows(
        x=encode(table, features),
        y=class_indices(table, label, classes),
        source=_names(table, source, empty="-"),
        session=_names(table, session, empty=""),
    )


def _names(table: Table, column: str | None, empty: str) -> Strings:
    if column is None:
        return np.full(len(table), empty, dtype=np.str_)
    names = table.strings(column)
    return np.where(names == "", empty, names).astype(np.str_)
