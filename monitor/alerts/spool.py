"""Alerts on disk until the receiver has them: segments that only grow, and a place up to which they are delivered.

A crash may leave half a record at the end of the newest segment: it is cut off when the spool is opened, and was never
acknowledged as written, because the mark of what is written is only set behind a record that is on the disk. What lies
before that mark and is no record was spoilt by the disk: it is left out and counted, and costs no other alert. Losing
the place of what is delivered costs nothing but repeats.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from monitor.alerts.alert import Alert
from monitor.alerts.spool_marks import Mark, Marks, Written
from monitor.alerts.spool_records import Record, alert_at, gaps, packed, whole_records
from rollback.durable import sync_folder

log = structlog.get_logger()

SEGMENT_BYTES: Final = 1_048_576
"""A segment is closed when it has so many; it is removed when all of it is delivered."""
GONE: Final = frozenset({errno.ENOENT, errno.EIO})
"""What a disk says of something that it had, and will not have again."""


class Spool:
    """The alerts of one sink that wait, in ``folder``; at most ``limit`` bytes of them. Used by one thread."""

    def __init__(self, folder: Path, limit: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._limit = limit
        self._segment_bytes = segment_bytes
        self._waiting: deque[Record] = deque()
        self.waiting_bytes = 0
        self._marks = Marks(folder)
        self._spoilt: set[Mark] = set()
        self._said: set[Mark] = set()
        self._newest, self._size = 1, 0
        self._recover()

    def __len__(self) -> int:
        """How many alerts wait."""
        return len(self._waiting)

    @property
    def filled(self) -> float:
        """How much of the room for waiting alerts is taken, from 0 to 1."""
        return self.waiting_bytes / self._limit

    @property
    def spoilt(self) -> int:
        """Places that cannot be read and were not `said` yet: an alert each, or several."""
        return len(self._spoilt - self._said)

    def said(self) -> None:
        """What is `spoilt` so far was counted: it is not counted again, also after a restart."""
        self._said |= self._spoilt
        self._mark()

    def append(self, alerts: Sequence[Alert]) -> list[Alert]:
        """Put alerts on the disk; returns those of them there was room for, in order.

        One that is too large costs no other. Raises `OSError` where the disk does not take them; none is kept then.
        """
        room, fitting, records = self._limit - self.waiting_bytes, list[Alert](), list[bytes]()
        for alert in alerts:
            record = packed(alert)
            if len(record) > self._limit:
                log.warning("an alert is larger than its spool", bytes=len(record), spool_max_bytes=self._limit)
            if len(record) <= room:
                room -= len(record)
                fitting.append(alert)
                records.append(record)
        if records:
            self._write(records)
        return fitting

    def peek(self, most: int, skip: int = 0) -> list[Alert]:
        """The ``most`` oldest alerts that wait after the first ``skip``, without taking them away.

        One that cannot be read any more waits no more: it is left out, and `spoilt` counts it.
        """
        return self._readable(list(islice(self._waiting, skip, skip + most)))

    def newest(self, most: int) -> list[Alert]:
        """The ``most`` youngest alerts that wait, the youngest first."""
        return self._readable(list(islice(reversed(self._waiting), most)))

    def advance(self, n: int) -> None:
        """The ``n`` oldest alerts are delivered: forget them."""
        if n == 0:
            return
        done = [self._waiting.popleft() for _ in range(n)]
        self.waiting_bytes -= sum(record.length for record in done)
        last = done[-1]
        self._marks.save_delivered(Mark(last.segment, last.end))
        oldest = self._waiting[0].segment if self._waiting else self._newest
        for number in {record.segment for record in done}:
            if number < oldest:
                self._path(number).unlink(missing_ok=True)

    def _write(self, records: Sequence[bytes]) -> None:
        if self._size >= self._segment_bytes or not self._whole():
            self._newest += 1
            self._size = 0
        path, fresh = self._path(self._newest), self._size == 0
        try:
            # not at its end: there may be something that could neither be written nor cut off
            with path.open("wb" if fresh else "r+b") as file:
                file.seek(self._size)
                file.write(b"".join(records))
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            # what arrived of them would be read after a restart, and the next record would lie behind it
            if path.exists():
                os.truncate(path, self._size)
            raise
        if fresh:
            sync_folder(self._folder)
        for record in records:
            self._waiting.append(Record(self._newest, self._size, len(record)))
            self._size += len(record)
            self.waiting_bytes += len(record)
        self._mark()

    def _mark(self) -> None:
        """What was written so far is on the disk."""
        self._marks.save_written(Written(Mark(self._newest, self._size), tuple(sorted(self._said))))

    def _whole(self) -> bool:
        """Whether the newest segment is there; another program may have removed it."""
        path = self._path(self._newest)
        return self._size == 0 or (path.exists() and path.stat().st_size >= self._size)

    def _readable(self, records: Sequence[Record]) -> list[Alert]:
        found = []
        for record in records:
            if (alert := self._read(record)) is not None:
                found.append(alert)
                continue
            self._waiting.remove(record)
            self.waiting_bytes -= record.length
            self._note(Mark(record.segment, record.offset), self._path(record.segment))
        return found

    def _read(self, record: Record) -> Alert | None:
        """None where it is spoilt."""
        try:
            with self._path(record.segment).open("rb") as file:
                file.seek(record.offset)
                return alert_at(file.read(record.length), 0)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return None

    def _recover(self) -> None:
        """Find out what waits."""
        numbers = sorted(int(path.stem) for path in self._folder.glob("*.seg") if path.stem.isdigit())
        place, written = self._marks.delivered(), self._marks.written()
        if written is not None:
            self._said = {mark for mark in written.spoilt if mark.segment >= place.segment}
            if written.end.segment not in numbers and place < written.end and written.end.offset:
                self._note(Mark(written.end.segment, 0), self._path(written.end.segment))
        for number in numbers:
            if number < place.segment:
                self._path(number).unlink()
            else:
                self._scan(number, place, written.end if written else None, last=number == numbers[-1])
        self._begin_behind([place, *([written.end] if written else []), *(Mark(number, 0) for number in numbers)])
        self.waiting_bytes = sum(record.length for record in self._waiting)
        if written is None:
            self._mark()

    def _scan(self, number: int, place: Mark, end: Mark | None, *, last: bool) -> None:
        """Take up what waits in a segment behind ``place``. ``end`` is behind what was acknowledged, where it is known.

        What is no record before ``end`` is spoilt. Behind it, at the end of the ``last`` segment, it is half a record
        that was being written: nobody was told that it is kept, and its line is offered again at the start.
        """
        path = self._path(number)
        content = path.read_bytes()
        found = list(whole_records(number, content))
        whole = found[-1].end if found else 0
        acknowledged = len(content)
        if last and end is not None and number >= end.segment:
            acknowledged = end.offset if number == end.segment else 0
        delivered = place.offset if number == place.segment else 0
        for begin, until in gaps(found, acknowledged):
            if until > delivered:
                self._note(Mark(number, begin), path)
        if acknowledged <= whole < len(content):
            log.warning("half a record at the end of a spool is cut off", file=str(path), bytes=len(content) - whole)
            os.truncate(path, whole)
        self._waiting.extend(record for record in found if record.offset >= delivered)

    def _begin_behind(self, marks: Sequence[Mark]) -> None:
        """Go on at the end of the newest segment, or, where that is not as it was left, with a new one.

        What is written to it anew would look as if it was delivered, or lie behind what is spoilt.
        """
        newest = max(marks, default=Mark(1, 0))
        path = self._path(newest.segment)
        size = path.stat().st_size if path.exists() else 0
        whole = next((r.end for r in reversed(self._waiting) if r.segment == newest.segment), newest.offset)
        fine = size == whole and size >= newest.offset
        self._newest, self._size = (newest.segment, size) if fine else (newest.segment + 1, 0)

    def _note(self, spoilt: Mark, path: Path) -> None:
        self._spoilt.add(spoilt)
        if spoilt not in self._said:
            log.error("alerts that waited cannot be read any more", file=str(path), offset=spoilt.offset)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:016d}.seg"
