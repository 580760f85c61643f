"""Alerts on disk until the receiver has them: segments that only grow, and a place up to which they are delivered.

A record is its length, a CRC of it, and the alert as MessagePack. A crash may leave half a record at the end of the
newest segment: it is cut off when the spool is opened. A record that the disk spoilt is left out and counted, and costs
no other. Losing the place costs nothing but repeats.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog

from monitor.alerts.alert import Alert
from rollback.durable import sync_folder

log = structlog.get_logger()

SEGMENT_BYTES: Final = 1_048_576
"""A segment is closed when it has so many; it is removed when all of it is delivered."""
CURSOR: Final = "delivered.json"
GONE: Final = frozenset({errno.ENOENT, errno.EIO})
"""What a disk says of something that it had, and will not have again."""

_HEAD: Final = struct.Struct(">II")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Alert).decode


class _Record(NamedTuple):
    segment: int
    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


class Spool:
    """The alerts of one sink that wait, in ``folder``; at most ``limit`` bytes of them. Used by one thread."""

    def __init__(self, folder: Path, limit: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._limit = limit
        self._segment_bytes = segment_bytes
        self._waiting: deque[_Record] = deque()
        self.waiting_bytes = 0
        self.spoilt = 0
        """Places that could not be read so far: an alert each, or several."""
        self._newest, self._size = 1, 0
        self._recover()

    def __len__(self) -> int:
        """How many alerts wait."""
        return len(self._waiting)

    @property
    def filled(self) -> float:
        """How much of the room for waiting alerts is taken, from 0 to 1."""
        return self.waiting_bytes / self._limit

    def append(self, alerts: Sequence[Alert]) -> list[Alert]:
        """Put alerts on the disk; returns those of them there was room for, in order.

        One that is too large costs no other. Raises `OSError` where the disk does not take them; none is kept then.
        """
        room, fitting, records = self._limit - self.waiting_bytes, list[Alert](), list[bytes]()
        for alert in alerts:
            record = _record(alert)
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
        self._save_cursor(last.segment, last.end)
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
            self._waiting.append(_Record(self._newest, self._size, len(record)))
            self._size += len(record)
            self.waiting_bytes += len(record)

    def _whole(self) -> bool:
        """Whether the newest segment is there; another program may have removed it."""
        path = self._path(self._newest)
        return self._size == 0 or (path.exists() and path.stat().st_size >= self._size)

    def _readable(self, records: Sequence[_Record]) -> list[Alert]:
        found = []
        for record in records:
            if (alert := self._read(record)) is not None:
                found.append(alert)
                continue
            log.error("an alert that waited cannot be read any more", file=str(self._path(record.segment)))
            self._waiting.remove(record)
            self.waiting_bytes -= record.length
            self.spoilt += 1
        return found

    def _read(self, record: _Record) -> Alert | None:
        """None where it is spoilt."""
        try:
            with self._path(record.segment).open("rb") as file:
                file.seek(record.offset)
                return _alert_at(file.read(record.length), 0)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return None

    def _recover(self) -> None:
        """Find out what waits."""
        numbers = sorted(int(path.stem) for path in self._folder.glob("*.seg") if path.stem.isdigit())
        segment, offset = self._cursor()
        for number in numbers:
            if number < segment:
                self._path(number).unlink()
                continue
            found = self._scan(number, offset if number == segment else 0, last=number == numbers[-1])
            self._waiting.extend(r for r in found if number > segment or r.offset >= offset)
        self._newest = max([segment, *numbers])
        path = self._path(self._newest)
        self._size = path.stat().st_size if path.exists() else 0
        if self._newest == segment and self._size < offset:
            # somebody removed it; what is written to it anew would look as if it was delivered
            self._newest, self._size = segment + 1, 0
        self.waiting_bytes = sum(record.length for record in self._waiting)

    def _scan(self, number: int, offset: int, *, last: bool) -> list[_Record]:
        """Whole records of a segment. What follows those of the ``last`` one was being written, and is cut off.

        What is no record elsewhere behind ``offset`` is `spoilt`.
        """
        path = self._path(number)
        content = path.read_bytes()
        found = list(_whole_records(number, content))
        end = found[-1].end if found else 0
        ends = [0, *(record.end for record in found)]
        begins = [*(record.offset for record in found), *(() if last else (len(content),))]
        if spoilt := sum(begin > max(end, offset) for end, begin in zip(ends, begins, strict=False)):
            log.error("alerts that waited cannot be read any more", file=str(path), places=spoilt)
            self.spoilt += spoilt
        if last and end < len(content):
            log.warning("the end of a spool is unreadable and cut off", file=str(path), bytes=len(content) - end)
            os.truncate(path, end)
        return found

    def _cursor(self) -> tuple[int, int]:
        try:
            segment, offset = msgspec.json.decode((self._folder / CURSOR).read_bytes(), type=tuple[int, int])
        except FileNotFoundError:
            return 1, 0
        except msgspec.MsgspecError:
            log.warning("the place in a spool is unreadable: alerts may be sent again", folder=str(self._folder))
            return 1, 0
        return segment, offset

    def _save_cursor(self, segment: int, offset: int) -> None:
        """Not synced: after a power failure an older place is as good, but for repeats."""
        path = self._folder / CURSOR
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_bytes(msgspec.json.encode((segment, offset)))
            temporary.replace(path)
        except OSError as error:
            log.warning("the place in a spool is not kept: alerts may be sent again", file=str(path), reason=str(error))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:016d}.seg"


def _record(alert: Alert) -> bytes:
    payload = _encode(alert)
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def _whole_records(number: int, content: bytes) -> Iterator[_Record]:
    """Also those behind something else."""
    offset = 0
    while offset + _HEAD.size <= len(content):
        if _alert_at(content, offset) is None:
            offset += 1
            continue
        length, _ = _HEAD.unpack_from(content, offset)
        yield _Record(number, offset, _HEAD.size + length)
        offset += _HEAD.size + length


def _alert_at(content: bytes, offset: int) -> Alert | None:
    """The alert of the record that begins there, None where none does; another version may have written another."""
    if offset + _HEAD.size > len(content):
        return None
    length, checksum = _HEAD.unpack_from(content, offset)
    begin = offset + _HEAD.size
    if length == 0 or begin + length > len(content) or zlib.crc32(content[begin : begin + length]) != checksum:
        return None
    try:
        return _decode(content[begin : begin + length])
    except msgspec.MsgspecError:
        return None
