"""The hunt itself: chunks in, counts and lists out, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from detectors.batch import Batch, Floats
from monitor.hashes import KeyedHash
from monitor.hunting.compared import Compared, Marks
from monitor.hunting.listing import Listing
from monitor.hunting.messages import Counts, Direction, HuntedVersion, Served, Table, Tally
from monitor.hunting.reading import EventReader, Scope
from monitor.hunting.top_names import TopNames
from monitor.hunting.weighing import Weighing
from monitor.sources.source import Chunk, Partition
from rollback.hunt.stix import Seen

SHOWN = 50
"""Sources and sessions that are named."""


class Hunt:
    """Takes events and compares what was served with what the last known good version says. ``key`` is of hashes."""

    def __init__(self, scope: Scope, versions: Mapping[str, Compared], listing: Listing, key: bytes) -> None:
        self._reader = EventReader(scope, versions, key)
        self._listing = listing
        self._hash = KeyedHash(key)
        self.weighings = {version: Weighing(compared) for version, compared in versions.items()}
        self._counts: Counter[str] = Counter()
        self._service: Counter[tuple[str, str]] = Counter()
        self._directions: Counter[tuple[str, str, bool]] = Counter()
        self._sources, self._sessions = TopNames(), TopNames()
        self.seen: Seen | None = None
        """The events that carry the trigger."""
        self._times: tuple[float, float] | None = None
        self.read: dict[Partition, tuple[int, int, int]] = {}
        """Messages, first and last offset of each partition that was read."""

    @property
    def events(self) -> int:
        """Events that were re-scored so far."""
        return self._counts["events"]

    def take(self, chunk: Chunk) -> None:
        """Compare the events of a chunk."""
        if not chunk.offsets:
            return
        lowest, highest = min(chunk.offsets), max(chunk.offsets)
        messages, first, last = self.read.get(chunk.partition, (0, lowest, highest))
        found = messages + len(chunk.offsets), min(first, lowest), max(last, highest)
        self.read[chunk.partition] = found
        for batch in self._reader.events(chunk):
            self._compare(batch, chunk.partition)

    def _compare(self, batch: Batch, partition: Partition) -> None:
        weighing = self.weighings[batch.version]
        marks, good = weighing.compared.mark(batch.x, batch.scores)
        weighing.add(self._hash.texts(batch.session.tolist()), batch, marks)
        self._listing.add(batch, weighing.compared.schema, marks, good, partition)
        self._count(batch, weighing.compared, marks)
        self._name(batch, weighing.compared, marks)

    def _count(self, batch: Batch, compared: Compared, marks: Marks) -> None:
        counts = {
            "events": len(batch),
            "unscored": int(np.count_nonzero(~marks.scored)),
            "differing": int(np.count_nonzero(marks.differs)),
            "passed": int(np.count_nonzero(marks.passed)),
            "with_trigger": int(np.count_nonzero(marks.carries)),
            "agreed_with_trigger": int(np.count_nonzero(marks.slipped & ~marks.differs)),
        }
        self._counts.update(counts)
        first, last = float(batch.ts.min()), float(batch.ts.max())
        before = self._times or (first, last)
        self._times = min(before[0], first), max(before[1], last)
        if marks.carries.any():
            self.seen = _seen(self.seen, batch.ts[marks.carries])
        self._service[batch.version, "events"] += len(batch)
        if compared.periods:
            end = compared.periods[-1].end
            early = batch.ts < compared.periods[0].start
            self._service[batch.version, "before"] += int(np.count_nonzero(early))
            self._service[batch.version, "after"] += int(np.count_nonzero(batch.ts >= end)) if end is not None else 0

    def _name(self, batch: Batch, compared: Compared, marks: Marks) -> None:
        """Tables by direction, source and session, of what differs."""
        classes = compared.schema.classes
        passed = marks.passed
        for row in np.flatnonzero(marks.differs).tolist():
            carries = bool(marks.carries[row])
            self._directions[classes[marks.good[row]], classes[marks.served[row]], carries] += 1
            counts = (int(passed[row]), 1, int(carries))
            self._sources.add(str(batch.source[row]), counts)
            self._sessions.add(str(batch.session[row]), counts)

    def counts(self) -> Counts:
        """What became of every message."""
        read = self._reader.counts
        names = ("messages", "repeats", "conflicts", "other_model", "other_version", "outside")
        found = ("events", "unscored", "differing", "passed", "with_trigger", "agreed_with_trigger")
        return Counts(
            **{name: read[name] for name in names},
            **{name: self._counts[name] for name in found},
            unreadable=dict(sorted(self._reader.unreadable.items())),
        )

    def versions(self) -> list[HuntedVersion]:
        """How many events each version had, and when it served."""
        return [
            HuntedVersion(
                version=version,
                registered=weighing.compared.registered,
                served=[Served(*period) for period in weighing.compared.periods],
                events=self._service[version, "events"],
                before_service=self._service[version, "before"],
                after_service=self._service[version, "after"],
            )
            for version, weighing in self.weighings.items()
        ]

    def directions(self) -> list[Direction]:
        """Which class was given in place of which, most frequent first."""
        pairs: Counter[tuple[str, str]] = Counter()
        for (good, served, _), events in self._directions.items():
            pairs[good, served] += events
        ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
        return [Direction(*pair, events, self._directions[*pair, True]) for pair, events in ordered]

    def tables(self) -> tuple[Table, Table]:
        """The sources and the sessions with the most events that passed."""
        return _table(self._sources), _table(self._sessions)

    @property
    def times(self) -> tuple[float | None, float | None]:
        """Event times of the first and the last event."""
        return self._times or (None, None)


def _seen(before: Seen | None, ts: Floats) -> Seen:
    now = Seen(len(ts), float(ts.min()), float(ts.max()))
    if before is None:
        return now
    return Seen(before.events + now.events, min(before.first, now.first), max(before.last, now.last))


def _table(top: TopNames) -> Table:
    rows = [Tally(name, *counts) for name, counts in top.largest(SHOWN)]
    return Table(rows, top.names, top.too_low_by)
