"""Lines of event files: plain, gzip, Zstandard, or the rows of Parquet written as events."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from monitor.sources.parquet_events import parquet_lines
from monitor.sources.source import PermanentSourceError

CHUNK = 2**16
PLAIN = (".ndjson", ".jsonl")
UNPACKERS: dict[str, Callable[[], Any]] = {
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}
"""How to unpack one member of such a file; its end is told apart from the end of the file."""


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, each with its number from 0 (blank lines count).

    Raises `PermanentSourceError` where the file does not exist, cannot be read, is of an unknown kind or ends before
    its end: with the path and the byte reached.
    """
    kind = path.name.lower()
    for ending in UNPACKERS:
        kind = kind.removesuffix(ending)
    if kind.endswith(".parquet"):
        yield from enumerate(parquet_lines(path))
    elif kind.endswith(PLAIN):
        for number, line in enumerate(split_lines(decompressed(path))):
            if not line.isspace() and line:
                yield number, line
    else:
        raise PermanentSourceError(f"{path}: events are read from .ndjson, .jsonl (also .gz, .zst) and .parquet files")


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Lines without their ends.

    >>> list(split_lines([b"a\nb", b"c\r\n\nd"]))
    [b'a', b'bc', b'', b'd']
    """
    pieces: list[bytes] = []  # of a line whose end has not come: it may be huge
    for chunk in chunks:
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*pieces, lines[0]])
            pieces = []
            yield from (line.removesuffix(b"\r") for line in lines)
        pieces.append(rest)
    if last := b"".join(pieces):
        yield last


def decompressed(path: Path) -> Iterator[bytes]:
    """The file's content piece by piece."""
    try:
        with path.open("rb") as file:
            try:
                unpacker = UNPACKERS.get(path.suffix.lower())
                yield from blocks(file) if unpacker is None else unpacked(file, unpacker)
            except (EOFError, zlib.error, zstandard.ZstdError) as error:
                raise PermanentSourceError(
                    f"{path}: broken or cut off near byte {file.tell()} of {path.stat().st_size}: {error}"
                ) from error
    except OSError as error:
        raise PermanentSourceError(f"{path}: cannot be read: {error.strerror or error}") from error


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """The file as it is, in pieces."""
    return iter(lambda: file.read(CHUNK), b"")


def unpacked(file: BinaryIO, start: Callable[[], Any]) -> Iterator[bytes]:
    """The content of all members one after the other; raises EOFError where the last is cut off."""
    member = None
    for block in blocks(file):
        rest = block
        while rest:
            member = member or start()
            piece = member.decompress(rest)
            if piece:
                yield piece
            rest = member.unused_data.lstrip(b"\0") if member.eof else b""  # gzip allows zeros between members
            member = None if member.eof else member
    if member is not None:
        raise EOFError("compressed data ends in the middle")
