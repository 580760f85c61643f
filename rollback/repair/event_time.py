"""When the rows of a buffer happened, where its column ``ts`` says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np

from detectors.batch import Floats
from rollback.tables.table import Table, TableError

COLUMN: Final = "ts"


def event_times(table: Table) -> Floats | None:
    """Seconds since the epoch [n] of a table's column ``ts``, NaN where empty; None where there is no such column.

    Numbers are seconds, texts RFC 3339 (without an offset: UTC). A column that holds anything else tells no time: None.
    """
    if COLUMN not in table.columns:
        return None
    if table.column(COLUMN).dtype.kind != "U":
        try:
            return table.floats(COLUMN)
        except TableError:  # infinite: no time
            return None
    words, of = np.unique(table.strings(COLUMN), return_inverse=True)
    try:
        seconds = [_seconds(word) for word in words.tolist()]
    except (ValueError, OverflowError):
        return None
    return np.array(seconds, np.float64)[of]


def _seconds(text: str) -> float:
    """One time.

    >>> _seconds("1970-01-02T00:00:00Z"), _seconds("1970-01-01 00:01")
    (86400.0, 60.0)
    """
    if not text:
        return float("nan")
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
