"""Events from files, in event-time order over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from monitor.sources.file_order import Integers, Lines, Order, event_time_order
from monitor.sources.source import Chunk, Committed, Listener, Partition, PermanentSourceError, Role


class FileSource:
    """A `Source` over event files (see `monitor.sources.file_lines` for the kinds). Each file is a partition.

    All messages of all files come in the order of their event time; ties go by file (as given), then by line. A line
    whose time cannot be read comes with the line before it. Blank lines are left out. An offset is the line's number
    from 0, in Parquet the row's; where a file is not sorted by time, its offsets do not come in rising order, and
    `seek` to a line means: from now on only this line and those with higher numbers.

    Every file is read twice, first for the order; files that are sorted by time are never held in memory. Commits are
    kept in ``committed`` and nowhere else.
    """

    def __init__(self, files: Sequence[tuple[Path, Role]], listener: Listener) -> None:
        if len({path for path, _ in files}) != len(files):
            raise PermanentSourceError(f"a file was given twice: {[str(path) for path, _ in files]}")
        self._paths = [path for path, _ in files]
        self._roles = [role for _, role in files]
        self._partitions = [Partition(str(path), 0) for path in self._paths]
        self._listener = listener
        self._order: Order | None = None
        self._coming: Integers = np.zeros(0, dtype=np.int64)
        self._lines: dict[int, Lines] = {}
        self.committed: dict[Partition, Committed] = {}

    @property
    def finished(self) -> bool:
        """Whether every line has been delivered."""
        return self._order is not None and len(self._coming) == 0

    def poll(self, max_messages: int, timeout: float) -> Sequence[Chunk]:  # noqa: ARG002 - nothing comes while we wait
        """At most ``max_messages`` messages; one chunk for each run of messages of one file.

        The first call reads all files for their order. Raises `PermanentSourceError` where a file cannot be read.
        """
        order = self._ordered()
        now, self._coming = self._coming[:max_messages], self._coming[max_messages:]
        files, lines = order.file[now], order.line[now]
        edges = [0, *(np.flatnonzero(np.diff(files)) + 1).tolist(), len(files)] if len(files) else []
        return [self._chunk(int(files[start]), lines[start:end].tolist()) for start, end in pairwise(edges)]

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Deliver these files from the given lines on; raises ValueError for a file that is not ours."""
        strangers = [p for p in offsets if p not in self._partitions]
        if strangers:
            raise ValueError(f"cannot seek in files that are not read: {strangers}")
        order = self._ordered()
        wanted = np.zeros(len(order), dtype=np.bool_)
        wanted[self._coming] = True
        for partition, offset in offsets.items():
            index = self._partitions.index(partition)
            ours = order.file == index
            wanted[ours] = order.line[ours] >= offset
            self._forget(index)
        self._coming = np.flatnonzero(wanted)

    def commit(self, offsets: Mapping[Partition, int], metadata: str) -> None:
        """Keep in ``committed``."""
        self.committed.update({p: Committed(offset, metadata) for p, offset in offsets.items()})

    def lag(self) -> dict[Partition, int]:
        """Lines that are still to come, by file; empty before the first poll."""
        if self._order is None:
            return {}
        counts = np.bincount(self._order.file[self._coming], minlength=len(self._paths))
        return dict(zip(self._partitions, counts.tolist(), strict=True))

    def close(self) -> None:
        """Close the files. Does not commit."""
        for index in list(self._lines):
            self._forget(index)

    def _ordered(self) -> Order:
        if self._order is None:
            self._order = event_time_order(self._paths)
            self._coming = np.arange(len(self._order))
            starts = self._listener.on_assigned(dict.fromkeys(self._partitions))
            if starts:
                self.seek(starts)
            self._listener.on_positioned({**dict.fromkeys(self._partitions, 0), **starts})
        return self._order

    def _chunk(self, index: int, lines: list[int]) -> Chunk:
        if index not in self._lines:
            self._lines[index] = Lines(self._paths[index], in_order=self._ordered().sorted[index])
        return Chunk(self._partitions[index], self._roles[index], lines, self._lines[index].take(lines))

    def _forget(self, index: int) -> None:
        if index in self._lines:
            self._lines.pop(index).close()
