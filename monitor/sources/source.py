"""The seam between the outside and the loop: chunks of undecoded messages, with the place where each came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Role = Literal["inference", "feedback", "trusted"]
"""What a topic or file carries. ``trusted`` is feedback on the guarded channel: only there trusted origins count."""


class Partition(NamedTuple):
    """A topic partition, or a file (``topic`` is its path, ``number`` 0)."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Messages of one partition, in its order. ``offsets`` and ``values`` have equal length.

    A file's offset is the line's number (from 0). A value that is empty (a tombstone) is ``b""``.
    """

    partition: Partition
    role: Role
    offsets: Sequence[int]
    values: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Committed:
    """What the broker remembers of a partition: the next offset to read and the metadata of that commit."""

    offset: int
    metadata: str


class Listener(Protocol):
    """Told by the source, within `Source.poll`, when partitions come and go."""

    def on_assigned(self, partitions: Mapping[Partition, Committed | None]) -> Mapping[Partition, int]:
        """Partitions are ours now, with what the broker remembers; returns the offsets at which to start reading.

        A partition that is left out starts where the broker says, or at ``start_at`` of the source.
        """

    def on_positioned(self, offsets: Mapping[Partition, int]) -> None:
        """The same partitions will be read from these offsets, and nothing has been read yet: a commit is possible.

        Where this raises, nothing is read, and the next poll tells of the partitions again.
        """

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        """Partitions will go to another member; a commit is still possible now."""

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        """Partitions have gone to another member; what was not committed will be read there."""


class RetryableSourceError(Exception):
    """The source cannot be read now (broker away, topic not there yet): say so, wait, try again."""


class PermanentSourceError(Exception):
    """The source can never be read as configured (no such file, access refused)."""


class Source(Protocol):
    """Where messages come from: Kafka, files, memory. One thread uses it."""

    @property
    def finished(self) -> bool:
        """Whether nothing can ever come any more (a file was read to its end)."""

    def poll(self, max_messages: int, timeout: float) -> Sequence[Chunk]:
        """At most ``max_messages`` new messages; an empty sequence after ``timeout`` seconds without any."""

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Read on from here: the next offset to deliver for each partition."""

    def commit(self, offsets: Mapping[Partition, int], metadata: str) -> None:
        """Remember outside that everything below these offsets is in a checkpoint named by ``metadata``."""

    def lag(self) -> Mapping[Partition, int]:
        """Messages beyond our position, for every partition where that is known."""

    def close(self) -> None:
        """Leave the group and free what is held. Does not commit."""
