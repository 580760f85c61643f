"""From whole sessions to a reference file that `tocsin registry add --reference` takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitor.capture.gather import Captured, Cell, Gathering
from rollback.reference import SCORE_COLUMN
from rollback.tables.table import write_table

FEWEST_SESSIONS: Final = 200
"""Fewer tell too little about what is usual: bounds from them are so wide that nothing would ever be said."""
LABELLED_ROWS: Final = 100
"""With fewer labelled rows, feedback cannot be compared with the model."""


class CaptureError(Exception):
    """No reference can be made of what was captured; the message says how much is missing."""


@dataclass(frozen=True, slots=True)
class ReferenceFile:
    """What was written. ``roles`` are the names of the columns for label, source and session."""

    path: Path
    rows: int
    sessions: int
    sources: int
    labels: dict[str, int]
    contradictory: int
    left_out: int
    roles: tuple[str, str, str]


def write_reference(gathered: Gathering, path: Path, *, rows: int, rng: np.random.Generator) -> ReferenceFile:
    """Write at most about ``rows`` rows: whole sessions, drawn at random where there are more.

    An existing file is never replaced. Raises `CaptureError` where sessions are too few and
    `rollback.tables.table.TableError` where the file cannot be of that kind.
    """
    if path.exists():
        raise CaptureError(f"{path}: exists; a reference never moves by itself: choose another name")
    sessions = gathered.whole_sessions()
    drawn = _drawn(sessions, rows, rng)
    if len(drawn) < FEWEST_SESSIONS:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(gathered.counts.items()) if count)
        raise CaptureError(
            f"only {len(drawn)} whole sessions in that time; at least {FEWEST_SESSIONS} are needed to say what is "
            f"usual: widen --from and --to{', or raise --rows' if len(drawn) < len(sessions) else ''} "
            f"(left out: {counts or 'nothing'})"
        )
    events = list(chain.from_iterable(drawn))
    names = list(dict.fromkeys(chain.from_iterable(e.features for e in events)))
    roles = _roles(names)
    labels = [gathered.label(e.id) for e in events]
    columns: dict[str, NDArray[Any]] = {name: _column([e.features.get(name) for e in events]) for name in names}
    columns |= {
        roles[0]: np.array(labels, np.str_),
        roles[1]: np.array([e.source for e in events], np.str_),
        roles[2]: np.array([e.session for e in events], np.str_),
        **_served(events, gathered.classes),
    }
    write_table(path, columns)
    known, counts_of = np.unique([label for label in labels if label], return_counts=True)
    return ReferenceFile(
        path,
        len(events),
        len(drawn),
        len({e.source for e in events}),
        dict(zip(known.tolist(), counts_of.tolist(), strict=True)),
        gathered.contradictory(e.id for e in events),
        len(sessions) - len(drawn),
        roles,
    )


def _drawn(sessions: Sequence[list[Captured]], rows: int, rng: np.random.Generator) -> list[list[Captured]]:
    """Random sessions until there are ``rows`` rows, in their old order."""
    order = rng.permutation(len(sessions))
    before = np.concatenate([[0], np.cumsum([len(sessions[i]) for i in order])])[:-1]
    return [sessions[i] for i in sorted(order[before < rows].tolist())]


def _roles(names: Sequence[str]) -> tuple[str, str, str]:
    """Names for label, source and session that no feature has."""
    label, source, session = (
        role if role not in names else f"tocsin_{role}" for role in ("label", "source", "session")
    )
    return label, source, session


def _served(events: Sequence[Captured], classes: Sequence[str]) -> dict[str, NDArray[Any]]:
    """A column of scores as served for each class; none where events have different numbers of them."""
    counts = {len(e.scores) for e in events}
    if len(counts) > 1:
        return {}
    keys = classes if counts == {len(classes)} else range(counts.pop())
    return {f"{SCORE_COLUMN}{key}": np.array([e.scores[k] for e in events]) for k, key in enumerate(keys)}


def _column(cells: Sequence[Cell]) -> NDArray[Any]:
    """Numbers where all cells are, else text; missing is NaN, or an empty text."""
    if all(not isinstance(cell, str) for cell in cells):
        return np.array([math.nan if cell is None else float(cell) for cell in cells])
    return np.array(["" if cell is None else _text(cell) for cell in cells], np.str_)


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else f"{float(cell or 0):g}"
