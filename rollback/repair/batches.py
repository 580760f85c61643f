"""Parts of the new rows that came together: a source by day, or a source by parts in the order of the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from detectors.batch import Floats, Ints
from detectors.sequential import sessions_of
from rollback.sanitise.rows import Rows

DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Parameters:
    """``fewest`` sessions make a batch: shorter days are joined with the next, smaller sources are not tested.

    Without times a source is cut into parts of about ``part`` sessions, at most ``parts``. The ``most`` largest batches
    are tested. At most ``past`` trusted sessions are compared with.
    """

    fewest: int = 20
    part: int = 100
    parts: int = 8
    most: int = 64
    past: int = 2000

    def __post_init__(self) -> None:
        if min(self.fewest, self.part, self.parts, self.most, self.past) < 1:
            raise ValueError(f"batches: all of them are at least 1, got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """``rows`` are positions among the new rows; ``part`` is a day (or days), or the number of a part.

    ``whole``: these are all rows of the source, of which other batches are parts.
    """

    source: str
    part: str
    rows: Ints
    whole: bool = False

    @property
    def name(self) -> str:
        """For a message."""
        return f"source {self.source}, {self.part}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A batch's rows ``now`` and the trusted rows ``past`` that they are compared with.

    ``own``: those are of the same source; else of all sources, because the base has too few of it.
    """

    batch: Batch
    now: Rows
    past: Rows
    own: bool


def pairs_of(
    base: Rows, new: Rows, ts: Floats | None, parameters: Parameters, rng: np.random.Generator
) -> tuple[list[Pair], list[str]]:
    """The batches of new rows (at ``ts`` [n], seconds since the epoch) beside the base, and sources that have too few.

    Sessions are kept whole; one belongs where its first row does. A source of several batches is one more, as a whole:
    what lasts is seen better there.
    """
    batches, small = [], []
    for source in np.unique(new.source).tolist():
        rows = np.flatnonzero(new.source == source)
        code, count = sessions_of(new.session[rows])
        if count < parameters.fewest:
            small.append(source)
            continue
        when = None if ts is None or np.isnan(ts[rows]).all() else ts[rows]
        parts = [Batch(source, part, rows[own]) for part, own in _parts(code, count, when, parameters)]
        whole = [Batch(source, "all its rows", rows, whole=True)] if len(parts) > 1 else []
        batches += [*whole, *parts]
    largest = sorted(batches, key=lambda b: -len(b.rows))[: parameters.most]
    kept = [b for b in batches if any(b is other for other in largest)]
    return [_pair(base, new, batch, parameters, rng) for batch in kept], small


def _pair(base: Rows, new: Rows, batch: Batch, parameters: Parameters, rng: np.random.Generator) -> Pair:
    same = np.flatnonzero(base.source == batch.source)
    own = len(same) > 0 and sessions_of(base.session[same])[1] >= parameters.fewest
    rows = same if own else np.arange(len(base))
    return Pair(batch, new.take(batch.rows), base.take(rows[some(base.session[rows], parameters.past, rng)]), own)


def some(session: np.ndarray, most: int, rng: np.random.Generator) -> Ints:
    """Positions of the rows of at most so many sessions."""
    code, count = sessions_of(session)
    if count <= most:
        return np.arange(len(session))
    kept = np.zeros(count, np.bool_)
    kept[rng.permutation(count)[:most]] = True
    return np.flatnonzero(kept[code])


def _parts(code: Ints, count: int, when: Floats | None, parameters: Parameters) -> Iterator[tuple[str, Ints]]:
    """Names of parts and the positions of their rows."""
    if when is None:
        parts = min(max(count // parameters.part, 1), parameters.parts)
        of = code * parts // count
        for i in range(parts):
            yield (f"part {i + 1} of {parts}" if parts > 1 else "all rows"), np.flatnonzero(of == i)
        return
    first = np.full(count, np.inf)
    np.minimum.at(first, code, np.where(np.isnan(when), np.inf, when))
    day = np.where(np.isinf(first), np.inf, np.floor(first / DAY))
    for days in _joined(day, parameters.fewest):
        yield _days(days), np.flatnonzero(np.isin(day[code], days))


def _joined(day: Floats, fewest: int) -> list[Floats]:
    """Runs of days with at least so many sessions each."""
    runs: list[list[float]] = []
    held = 0
    for value, sessions in zip(*np.unique(day, return_counts=True), strict=True):
        if runs and held < fewest:
            runs[-1].append(float(value))
            held += int(sessions)
        else:
            runs.append([float(value)])
            held = int(sessions)
    if len(runs) > 1 and held < fewest:
        runs[-2] += runs.pop()
    return [np.array(run) for run in runs]


def _days(days: Floats) -> str:
    known = days[np.isfinite(days)]
    if not len(known):
        return "rows without a time"
    names = [_name(float(day)) for day in (known[0], known[-1])]
    return names[0] if len(known) == 1 else f"{names[0]} to {names[1]}"


def _name(day: float) -> str:
    """A day by its number since the epoch; beyond the calendar the number itself.

    >>> _name(0.0), _name(1e12)
    ('1970-01-01', 'day 1000000000000')
    """
    try:
        return datetime.fromtimestamp(day * DAY, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return f"day {day:.0f}"
