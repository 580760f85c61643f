"""A training store: appended to by one writer, read as rows that carry their whole label history.

What is appended stays. A row that comes again (same id and digest) adds its statements to the history; another row
under an id that is taken is a conflict: it is kept, never given out, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from rollback.signing.keys import Keys
from rollback.store.index import SEGMENT, TRUST, WITHDRAWN, Index, enter, read_index, writing
from rollback.store.row import Row, in_order
from rollback.store.segments import StoreError, put, read
from rollback.store.survey import Survey, survey

SEGMENT_ROWS: Final = 20_000
"""A segment holds at most so many rows: one is in memory at a time."""
Clock: TypeAlias = Callable[[], float]


class Name(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row that is meant, and no other: its id and digest, and the ``label`` that held when it was named."""

    id: str
    digest: str
    label: str


@dataclass(frozen=True, slots=True)
class Store:
    """A store's folder. ``keys`` check it and, where they can, sign what is added.

    The ``clock`` of the methods that write (seconds) dates their entries; nothing is decided by it.
    """

    folder: Path
    keys: Keys | None = None

    def index(self) -> Index:
        """What it holds, verified. Raises `StoreError`."""
        return read_index(self.folder, self.keys)

    def append(self, rows: Iterable[Row], clock: Clock) -> int:
        """Add rows, a segment at a time; how many there were. Raises `StoreError`: what was entered before stays."""
        count, left = 0, iter(rows)
        with writing(self.folder, clock, self.keys) as log:
            while chunk := list(islice(left, SEGMENT_ROWS)):
                file = put(self.folder, chunk)
                times = [row.ts for row in chunk]
                enter(log, SEGMENT, {"file": file, "rows": len(chunk), "first": min(times), "last": max(times)})
                count += len(chunk)
        return count

    def trust(self, *, origin: str = "", rows: Iterable[Name] = (), by: str, reason: str, clock: Clock) -> None:
        """Name an origin, or rows, as trusted. Raises `StoreError` where neither or both are named."""
        named = list(rows)
        if bool(origin) == bool(named):
            raise StoreError(f"{self.folder}: name an origin or rows that are to be trusted, one of the two")
        with writing(self.folder, clock, self.keys) as log:
            file = put(self.folder, named) if named else ""
            enter(log, TRUST, {"origin": origin, "file": file, "by": by, "reason": reason})

    def withdraw(self, *, origin: str = "", file: str = "", by: str, reason: str, clock: Clock) -> None:
        """Trust an origin, or the rows of a file that `index` names, no longer."""
        if not any((t.origin, t.file) == (origin, file) for t in self.index().trusts):
            raise StoreError(f"{self.folder}: neither {origin or file!r} nor its like is trusted")
        with writing(self.folder, clock, self.keys) as log:
            enter(log, WITHDRAWN, {"origin": origin, "file": file, "by": by, "reason": reason})

    def survey(self, index: Index) -> Survey:
        """What has to be known of all rows before any is given. Raises `StoreError`."""
        return survey(self.folder, index)

    def rows(self, index: Index | None = None, survey: Survey | None = None) -> Iterator[Row]:
        """Every row once, in the order in which they came, with its whole label history; conflicts are left out.

        ``survey`` is that of the index, if it was made before. Of each row about 60 bytes are in memory, besides some
        lines of a segment and the rows that come more than once.
        """
        index = index or self.index()
        known = self.survey(index) if survey is None else survey
        waiting: dict[int, Row] = {}
        for position, (row, (first, last)) in enumerate(
            zip(_everything(self.folder, index), known.places(), strict=True)
        ):
            if first == last == position:
                yield row  # as almost all are: it comes once
            elif first >= 0:  # else a conflict
                before = waiting.pop(first, None)
                whole = row if before is None else _merged(before, row)
                if position == last:
                    yield whole
                else:
                    waiting[first] = whole

    def trusted_rows(self, index: Index) -> dict[tuple[str, str], str]:
        """{(id, digest): label} of the rows that the operator named; named again, the last label counts."""
        files = [trust.file for trust in index.trusts if trust.file]
        return {(name.id, name.digest): name.label for file in files for name in read(self.folder, file, Name)}

    def taken_twice(self, index: Index, ids: Collection[str]) -> set[str]:
        """Those of the ``ids`` that another row came under as well: which one an id means is not known."""
        first: dict[str, str] = {}
        rows = (row for row in _everything(self.folder, index) if row.id in ids)
        return {row.id for row in rows if first.setdefault(row.id, row.digest) != row.digest}

    def conflicts(self, index: Index) -> int:
        """How many rows came under an id that another row had taken."""
        return self.survey(index).conflicts


def _everything(folder: Path, index: Index) -> Iterator[Row]:
    for segment in index.segments:
        yield from read(folder, segment.file, Row)


def _merged(known: Row, again: Row) -> Row:
    return msgspec.structs.replace(known, labels=in_order([*known.labels, *again.labels]))
