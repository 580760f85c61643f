"""How alerts lie in a segment of the spool: each with its length and a CRC, found again also behind spoilt bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from monitor.alerts.alert import Alert

_HEAD: Final = struct.Struct(">II")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Alert).decode


class Record(NamedTuple):
    """Where a record lies."""

    segment: int
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + self.length


def packed(alert: Alert) -> bytes:
    """An alert as a record."""
    payload = _encode(alert)
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def whole_records(number: int, content: bytes) -> Iterator[Record]:
    """Those of segment ``number``, also behind something else."""
    offset = 0
    while offset + _HEAD.size <= len(content):
        if alert_at(content, offset) is None:
            offset += 1
            continue
        length, _ = _HEAD.unpack_from(content, offset)
        yield Record(number, offset, _HEAD.size + length)
        offset += _HEAD.size + length


def alert_at(content: bytes, offset: int) -> Alert | None:
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


def gaps(found: Sequence[Record], until: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each stretch before ``until`` that belongs to none of the records ``found`` in a segment.

    >>> list(gaps([Record(1, 0, 10), Record(1, 15, 5)], 30))
    [(10, 15), (20, 30)]
    """
    end = 0
    for record in found:
        if record.offset > end:
            yield end, record.offset
        end = record.end
    if until > end:
        yield end, until
