"""Cells of a table: numbers with NaN, or texts with "", and what is said where a cell is neither."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from detectors.batch import Floats, Strings

Column: TypeAlias = Floats | Strings


class TableError(Exception):
    """A table cannot be read as asked; the message names path, line and column."""


def show_number(value: float) -> str:
    """The shortest text of a number; missing is "".

    >>> show_number(3.0), show_number(0.25), show_number(float("nan"))
    ('3', '0.25', '')
    """
    if value != value:  # noqa: PLR0124 - NaN is the one value that differs from itself
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def parse_floats(texts: Strings) -> Floats | None:
    """Texts as numbers, "" as NaN; None where one of them is no number (digit groups like 1_000 are none).

    >>> parse_floats(np.array(["1", "", "2.5e3"])).tolist()
    [1.0, nan, 2500.0]
    >>> parse_floats(np.array(["1", "tcp"])) is None
    True
    """
    cells = texts.tolist()
    if "_" in "".join(cells):
        return None
    try:
        return np.array([float(cell.strip() or "nan") for cell in cells], dtype=np.float64)
    except ValueError:
        return None
