"""Segments of a training store: files of rows that are written once, named by the SHA-256 of what they hold."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import zstandard

from rollback.durable import sync_folder, write_new

FOLDER: Final = "segments"
SUFFIX: Final = ".ndjson.zst"
LEVEL: Final = 3
BLOCK: Final = 1 << 20
Line = TypeVar("Line")


class StoreError(Exception):
    """A training store cannot be read or written; the message names the file and says what to do."""


def put(store: Path, lines: Sequence[Any]) -> str:
    """Write a segment, one line each, and wait until it is on the disk; its name. The same lines are one segment."""
    encode = msgspec.json.Encoder().encode
    text = b"".join(encode(line) + b"\n" for line in lines)
    content = zstandard.ZstdCompressor(level=LEVEL).compress(text)
    name = hashlib.sha256(content).hexdigest() + SUFFIX
    folder = store / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}.tmp"
    try:
        temporary.unlink(missing_ok=True)  # of a writer that crashed: there is only one at a time
        write_new(temporary, content)
        temporary.replace(folder / name)
        sync_folder(folder)
    except OSError as error:
        raise StoreError(f"{folder / name}: cannot be written: {error.strerror}") from error
    return name


def check(store: Path, name: str) -> None:
    """That a segment is what its name says. Raises `StoreError`, which names it."""
    path = store / FOLDER / name
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"{path}: a segment that the index lists cannot be read: {error.strerror}") from error
    if found + SUFFIX != name:
        raise StoreError(f"{path}: was changed: its SHA-256 is {found}; put the segment back from a copy")


def read(store: Path, name: str, kind: type[Line]) -> Iterator[Line]:
    """The lines of a segment, checked before the first one is given; a few at a time are in memory."""
    for block in blocks(store, name, kind):
        yield from block


def blocks(store: Path, name: str, kind: type[Line]) -> Iterator[list[Line]]:
    """The same, as many lines at once as about a megabyte holds. Raises `StoreError`."""
    check(store, name)
    path = store / FOLDER / name
    decoder = msgspec.json.Decoder(kind)
    done = 0
    try:
        with path.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as raw:
            file = io.BufferedReader(raw, BLOCK)
            while lines := file.readlines(BLOCK):
                yield _decoded(lines, decoder, path, done)
                done += len(lines)
    except (OSError, zstandard.ZstdError) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error


def _decoded(lines: Sequence[bytes], decoder: msgspec.json.Decoder[Line], path: Path, done: int) -> list[Line]:
    """Lines of which ``done`` are before them in the file: all at once, one by one to say which is wrong."""
    try:
        return decoder.decode_lines(b"".join(lines))
    except (msgspec.DecodeError, UnicodeDecodeError):
        for number, line in enumerate(lines, start=done + 1):
            try:
                decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise StoreError(f"{path}: line {number}: is no row of a store: {error}") from error
        raise
