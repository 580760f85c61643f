"""Which rows a slice is about: by its values and its source, or all that its source sent outside of other slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from detectors.batch import Bools
from rollback.sanitise.rows import Rows, Slice
from rollback.sanitise.slice_judge import CLEAR_SWAP


def covered(piece: Slice, rows: Rows) -> Bools:
    """The rows bool[n] that hold the slice's values (and come from its source), whatever their label."""
    inside = np.ones(len(rows), dtype=np.bool_)
    if piece.source is not None:
        inside &= rows.source == piece.source
    for name, value in (piece.core or piece.features).items():
        j = rows.schema.names.index(name)
        inside &= _holds(rows, j, value)
    return inside


def doubtful(piece: Slice) -> bool:
    """Whether a slice may be honest and new: a person has to say what its rows are."""
    return piece.held or (piece.swap or 0.0) < CLEAR_SWAP


def about(piece: Slice, slices: Iterable[Slice], rows: Rows) -> Bools:
    """The rows bool[n] that a slice is about, whatever their label: those that it covers and no other one claims.

    What a person says of it is said of these rows alone. So a doubtful slice has no row of one that clearly is poison,
    one whose rows were kept none of one that was removed, and one without values none of any other.
    """
    inside = covered(piece, rows)
    for other in slices:
        if other.label == piece.label and other.valued and _claims(other, piece):
            inside &= ~covered(other, rows)
    return inside


def _claims(other: Slice, piece: Slice) -> bool:
    if not piece.valued or (piece.kept and not other.kept):
        return True
    return doubtful(piece) and not doubtful(other)


def _holds(rows: Rows, j: int, value: Any) -> Bools:
    column = rows.x[:, j]
    feature = rows.schema.features[j]
    if isinstance(value, Sequence) and not isinstance(value, str):
        low, high = value
        above = column >= (-np.inf if low is None else low)
        return np.asarray(above & (column <= (np.inf if high is None else high)), dtype=np.bool_)
    if value is None:
        return np.asarray(np.isnan(column), dtype=np.bool_)
    if feature.kind != "categorical":
        return np.asarray(column == float(value), dtype=np.bool_)
    return np.array([feature.show(code) == value for code in column.tolist()], dtype=np.bool_)
