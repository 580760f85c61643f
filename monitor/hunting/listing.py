"""Writes every event that was decided differently, or let through with the trigger, and keeps the worst of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self

import msgspec
import numpy as np

from detectors.batch import Batch, Floats, Ints
from detectors.schema import Schema
from monitor.hunting.compared import Marks
from monitor.hunting.messages import MissedEvent
from monitor.sources.source import Partition
from rollback.durable import replace_file

MISSED: Final = "missed.ndjson"
WORST: Final = "worst.ndjson"


class _Rank(NamedTuple):
    """How bad: events let through with the trigger first, then the deeper, then the earlier; at last by their place."""

    slipped: bool
    depth: float
    before: float
    place: tuple[int, int]


class Listing:
    """`missed.ndjson` in the order of reading, and `worst.ndjson` with the ``most`` worst, worst first.

    Memory goes with ``most`` alone. `finish` writes the worst.
    """

    def __init__(self, folder: Path, most: int) -> None:
        if most < 1:
            raise ValueError(f"at least one event must be listed, got {most}")
        self._folder = folder
        self._most = most
        self._file: BinaryIO = (folder / MISSED).open("wb")
        self._worst: list[tuple[_Rank, bytes]] = []
        self._partitions: dict[Partition, int] = {}
        self._encode = msgspec.json.Encoder().encode

    def add(self, batch: Batch, schema: Schema, marks: Marks, good: Floats, partition: Partition) -> None:
        """Take the events of a batch that are to be listed."""
        slipped = marks.slipped
        rows = np.flatnonzero(marks.listed)
        if not len(rows):
            return
        number = self._partitions.setdefault(partition, len(self._partitions))
        events = list(_events(batch, schema, marks, good, partition, rows))
        self._file.write(b"".join(self._encode(event) + b"\n" for event in events))
        for row, event in zip(rows.tolist(), events, strict=True):
            rank = _Rank(bool(slipped[row]), event.depth, -event.ts, (-number, -event.offset))
            if len(self._worst) < self._most:
                heapq.heappush(self._worst, (rank, self._full(event, batch, schema, row)))
            elif rank > self._worst[0][0]:
                heapq.heapreplace(self._worst, (rank, self._full(event, batch, schema, row)))

    def finish(self) -> int:
        """Write the worst; returns how many."""
        worst = sorted(self._worst, reverse=True)
        replace_file(self._folder / WORST, b"".join(line + b"\n" for _, line in worst))
        return len(worst)

    def _full(self, event: MissedEvent, batch: Batch, schema: Schema, row: int) -> bytes:
        x = batch.x[row].tolist()
        features = {feature.name: feature.show(value) for feature, value in zip(schema.features, x, strict=True)}
        return self._encode(msgspec.structs.replace(event, features=features))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _events(
    batch: Batch, schema: Schema, marks: Marks, good: Floats, partition: Partition, rows: Ints
) -> Iterator[MissedEvent]:
    classes, passed = schema.classes, marks.passed
    served, known = np.clip(batch.scores[rows], 0, 1).tolist(), good[rows].tolist()
    for i, row in enumerate(rows.tolist()):
        source, session = str(batch.source[row]), str(batch.session[row])
        yield MissedEvent(
            id=str(batch.id[row]),
            ts=float(batch.ts[row]),
            version=batch.version,
            source=source,
            served=classes[marks.served[row]],
            last_known_good=classes[marks.good[row]] if marks.scored[row] else None,
            depth=round(float(marks.depth[row]), 6),
            trigger=bool(marks.carries[row]),
            passed=bool(passed[row]),
            served_scores=dict(zip(classes, served[i], strict=True)),
            last_known_good_scores=dict(zip(classes, known[i], strict=True)) if marks.scored[row] else {},
            topic=partition.topic,
            partition=partition.number,
            offset=int(batch.offset[row]),
            session=own_session(source, session),
            ref=str(batch.ref[row]) or None,
        )


def own_session(source: str, session: str) -> str | None:
    """The session as its event named it; None where it named none, and the decoder tied events by source and minute.

    >>> own_session("fw-1", "fw-1/s7"), own_session("fw-1", "fw-1@28333333")
    ('s7', None)
    """
    name = session.removeprefix(source)
    return name[1:] if name.startswith("/") else None
