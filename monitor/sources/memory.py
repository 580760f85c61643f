"""Events from a log within the process: for the demo, for replay of recorded runs, and for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from monitor.sources.source import Chunk, Committed, Listener, Partition, Role


@dataclass(slots=True)
class MemoryLog:
    """What outlives a reader: topics with partitions, their messages, and what was committed.

    >>> log = MemoryLog({"events": "inference"})
    >>> log.append("events", b"first")
    0
    >>> log.append("events", b"second")
    1
    """

    roles: Mapping[str, Role]
    messages: dict[Partition, list[bytes]] = field(default_factory=dict)
    committed: dict[Partition, Committed] = field(default_factory=dict)

    def append(self, topic: str, value: bytes, number: int = 0) -> int:
        """Adds a message to a partition (and the partition, with its first message); returns its offset."""
        if topic not in self.roles:
            raise ValueError(f"topic {topic!r} has no role; topics of this log: {sorted(self.roles)}")
        partition = self.messages.setdefault(Partition(topic, number), [])
        partition.append(value)
        return len(partition) - 1

    def extend(self, topic: str, values: Iterable[bytes], number: int = 0) -> None:
        """Adds messages in order."""
        for value in values:
            self.append(topic, value, number)


class MemorySource:
    """A `Source` over a `MemoryLog`, with the rules of a consumer group of one member.

    A new source on the same log goes on at the committed offsets, as a process that was started again. ``ends`` says
    whether the log is complete, so that the source finishes when everything has been read. `abort_after` and
    `pause` are what a real source does at the worst moment.
    """

    def __init__(self, log: MemoryLog, listener: Listener, *, ends: bool = False) -> None:
        self._log = log
        self._listener = listener
        self._ends = ends
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._abort: tuple[int, Exception] | None = None
        self._closed = False

    @property
    def finished(self) -> bool:
        """Whether the log is complete and has been read to its end."""
        return self._ends and not any(self._left().values()) and self._positions.keys() == self._log.messages.keys()

    def poll(self, max_messages: int, timeout: float) -> Sequence[Chunk]:  # noqa: ARG002 - nothing comes while we wait
        """At most ``max_messages`` messages that have been appended, partition by partition; returns at once."""
        self._require_open()
        self._welcome()
        self._abort_if_due()
        allowed = max_messages if self._abort is None else min(max_messages, self._abort[0])
        chunks = []
        for partition, left in self._left().items():
            count = 0 if partition in self._paused else min(left, allowed)
            if count > 0:
                chunks.append(self._read(partition, count))
                allowed -= count
        return chunks

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Read on from here; raises ValueError for a partition that is not ours."""
        strangers = [p for p in offsets if p not in self._positions]
        if strangers:
            raise ValueError(f"cannot seek in partitions that are not assigned to us: {strangers}")
        self._positions.update(offsets)

    def commit(self, offsets: Mapping[Partition, int], metadata: str) -> None:
        """Remember in the log, for the next source on it."""
        self._require_open()
        self._log.committed.update({p: Committed(offset, metadata) for p, offset in offsets.items()})

    def lag(self) -> dict[Partition, int]:
        """Messages that the log has beyond our position."""
        return self._left()

    def close(self) -> None:
        """Leave; the log stays. Does not commit."""
        self._closed = True

    def abort_after(self, messages: int, error: Exception) -> None:
        """From now on deliver so many messages, then raise ``error`` from poll, once."""
        self._abort = (messages, error)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Deliver nothing from these until `resume`."""
        self._paused.update(partitions)

    def resume(self) -> None:
        """Deliver from everywhere again."""
        self._paused.clear()

    def revoke(self, partitions: Sequence[Partition]) -> None:
        """Give partitions away as a rebalance does; the next poll gets them back."""
        self._listener.on_revoked(partitions)
        for partition in partitions:
            del self._positions[partition]

    def lose(self, partitions: Sequence[Partition]) -> None:
        """Lose partitions as a member does that the broker believed dead; the next poll gets them back."""
        for partition in partitions:
            del self._positions[partition]
        self._listener.on_lost(partitions)

    def _welcome(self) -> None:
        new = {p: self._log.committed.get(p) for p in sorted(self._log.messages) if p not in self._positions}
        if not new:
            return
        starts = {p: found.offset if found else 0 for p, found in new.items()}
        starts.update(self._listener.on_assigned(new))
        self._listener.on_positioned(starts)
        self._positions.update(starts)

    def _left(self) -> dict[Partition, int]:
        return {p: max(0, len(self._log.messages[p]) - position) for p, position in sorted(self._positions.items())}

    def _abort_if_due(self) -> None:
        if self._abort is not None and self._abort[0] == 0:
            error, self._abort = self._abort[1], None
            raise error

    def _read(self, partition: Partition, count: int) -> Chunk:
        start = self._positions[partition]
        self._positions[partition] = start + count
        if self._abort is not None:
            self._abort = (self._abort[0] - count, self._abort[1])
        values = self._log.messages[partition][start : start + count]
        return Chunk(partition, self._log.roles[partition.topic], range(start, start + count), values)

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError("the source is closed")
