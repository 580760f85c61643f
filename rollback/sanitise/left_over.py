"""What a source with a held slice has lost besides: its rows of that label which went one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.batch import Bools
from rollback.sanitise.cover import about
from rollback.sanitise.pair_excess import excess
from rollback.sanitise.rows import Rows, Slice


def left_over(slices: Sequence[Slice], removed: Bools, new: Rows, rate: float) -> list[Slice]:
    """A slice without values for each source and label of a held slice that has one of values alone.

    Of a family that may be honest, some rows have other values than most. They went with it, and are to come back with
    it: nobody would be asked about them otherwise. ``removed`` [n] are the new rows that went; ``rate`` is the share of
    clean rows that screens remove.
    """
    cells = sorted({(s.source, s.label) for s in slices if s.held and s.valued and s.source is not None})
    known = {(s.source, s.label) for s in slices if not s.valued}
    found = []
    for source, label in cells:
        cell = (new.source == source) & (new.y == new.schema.classes.index(label))
        rest = Slice(label, source, {}, 0.0, 0, held=True)
        count = int(np.count_nonzero(about(rest, slices, new) & cell & removed))
        if (source, label) in known or not count:
            continue
        expected = rate * np.count_nonzero(cell)
        found.append(
            Slice(
                label=label,
                source=source,
                features={},
                score=float(excess(np.array([float(count)]), np.array([expected]))[0]),
                rows=count,
                expected=float(expected),
                contradicted=1.0,
                sources={str(source): count},
                held=True,
            )
        )
    return found
