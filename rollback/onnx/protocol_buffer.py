"""Reads protocol buffers field by field, without a description of what they hold.

Encoding: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

Value: TypeAlias = int | memoryview

VARINT, LENGTH_DELIMITED = 0, 2
FIXED: Final = {1: 8, 5: 4}
"""Kinds of fields of a fixed number of bytes."""


class NotOnnx(ValueError):  # noqa: N818 - it says what the file is not
    """The bytes are no ONNX model."""


def spans(data: memoryview, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message in ``data[start:stop]``: number, kind, and where the content begins and ends."""
    at = start
    while at < stop:
        key, at = _varint(data, at, stop)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            begin = at
            _, at = _varint(data, at, stop)
            yield number, kind, begin, at
            continue
        if kind == LENGTH_DELIMITED:
            size, at = _varint(data, at, stop)
        elif kind in FIXED:
            size = FIXED[kind]
        else:
            raise NotOnnx(f"byte {at} starts no field")
        if number == 0 or at + size > stop:
            raise NotOnnx("it is damaged or cut off")
        yield number, kind, at, at + size
        at += size


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """The fields of a message: number, and an integer or the bytes of a string or message."""
    for number, kind, begin, end in spans(data, 0, len(data)):
        yield number, _varint(data, begin, end)[0] if kind == VARINT else data[begin:end]


def integers(value: Value) -> list[int]:
    """A repeated integer, packed or one by one, as signed 64-bit numbers."""
    if isinstance(value, int):
        return [_signed(value)]
    numbers, at = [], 0
    while at < len(value):
        number, at = _varint(value, at, len(value))
        numbers.append(_signed(number))
    return numbers


def message(value: Value) -> memoryview:
    """The content of a field that holds no number."""
    if isinstance(value, int):
        raise NotOnnx("a field holds a number where a message belongs")
    return value


def text(value: Value) -> str:
    """A string."""
    return bytes(message(value)).decode("utf-8", "replace")


def _varint(data: memoryview, at: int, stop: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            raise NotOnnx("it is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return value, at
    raise NotOnnx("a number in it is too long")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
