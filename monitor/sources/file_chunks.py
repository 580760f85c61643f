"""Event files as chunks, each file from its beginning to its end: for what does not care for order in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from monitor.sources.file_lines import numbered_lines
from monitor.sources.source import Chunk, Partition, Role

LINES: Final = 4000
BYTES: Final = 8 << 20
"""A chunk ends with the line that reaches it: lines may be long."""


def file_chunks(files: Iterable[tuple[Path, Role]]) -> Iterator[Chunk]:
    """Every line of the files, in chunks of at most 4,000. Raises `PermanentSourceError` (see `numbered_lines`)."""
    for path, role in files:
        partition = Partition(str(path), 0)
        offsets: list[int] = []
        values: list[bytes] = []
        size = 0
        for number, line in numbered_lines(path):
            offsets.append(number)
            values.append(line)
            size += len(line)
            if len(values) >= LINES or size >= BYTES:
                yield Chunk(partition, role, offsets, values)
                offsets, values, size = [], [], 0
        yield Chunk(partition, role, offsets, values)
