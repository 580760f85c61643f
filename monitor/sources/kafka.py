"""Events from Kafka topics, as one member of a consumer group."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import CorruptRecordError, KafkaError, LogTruncationError, OffsetOutOfRangeError

from monitor.sources.kafka_connect import connect
from monitor.sources.kafka_errors import translated
from monitor.sources.kafka_group import joining, other_members
from monitor.sources.kafka_place import edges, move_into_range, step_over_corruption
from monitor.sources.kafka_rebalance import Rebalances
from monitor.sources.kafka_settings import KafkaSettings, milliseconds
from monitor.sources.kafka_watchdog import Watchdog
from monitor.sources.source import Chunk, Committed, Listener, Partition

log = structlog.get_logger()

SLICE = 0.1
"""Seconds of one wait within a poll: partitions that come during it are held back until it ends."""
JOINING = 2.0
"""Seconds by which a poll may take longer to see the end of a join: one that ends between two polls is made again."""
MISSING_TOPIC_EVERY = 30.0
"""Seconds between two warnings about a topic without partitions."""


class KafkaSource:
    """A `Source` over topics of one cluster. It connects at the first `poll`.

    Offsets are committed only by `commit`. A partition that comes is read from where the listener says, else from the
    committed offset, else from ``start_at``. `Listener.on_assigned` and `Listener.on_positioned` are called on
    the thread that polls; `Listener.on_revoked` and `Listener.on_lost` on a thread of kafka-python, while the thread
    that polls waits: all of them may call `commit` and nothing else of the source. `close` tells the listener nothing.

    While the brokers are away, `poll` returns nothing or raises `RetryableSourceError`; reading goes on where it was
    as soon as they are back. A topic that does not exist yet is read when it appears.

    Counters, all since the start: ``resets`` (times that a position no longer existed and was set by ``start_at``),
    ``corrupt`` (messages skipped because their batch fails its checksum), ``stalls`` (times that a partition stood
    still and was asked for anew).
    """

    def __init__(
        self, settings: KafkaSettings, listener: Listener, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._clock = clock
        self._consumer: KafkaConsumer | None = None
        self._rebalances: Rebalances | None = None
        self._watchdog = Watchdog(settings.stalled_after)
        self._missing_since = clock()
        self.resets = 0
        self.corrupt = 0
        self.stalls = 0

    @property
    def finished(self) -> bool:
        """Never: a topic has no end."""
        return False

    @property
    def member_id(self) -> str:
        """What the broker calls this member of the group; empty before the first assignment."""
        return "" if self._consumer is None else str(self._consumer.group_metadata().member_id)

    def poll(self, max_messages: int, timeout: float) -> Sequence[Chunk]:
        """At most ``max_messages`` new messages; an empty sequence after about ``timeout`` seconds without any.

        While the group is being joined it may take up to two seconds longer.

        Raises what the listener raised, `RetryableSourceError` while the brokers cannot be reached, and
        `PermanentSourceError` where access is refused or another process took our place.
        """
        consumer, rebalances = self._connected()
        deadline = self._clock() + timeout
        self._look_after(consumer)
        while True:
            self._welcome(consumer, rebalances)
            left = deadline - self._clock() + (JOINING if joining(consumer) else 0.0)
            fetched = self._fetch(consumer, max_messages, min(max(left, 0.0), SLICE))
            if rebalances.failure is not None:
                failure, rebalances.failure = rebalances.failure, None
                raise failure
            late = self._clock() - deadline
            if fetched or late >= (JOINING if joining(consumer) else 0.0):
                return [self._chunk(partition, records) for partition, records in fetched.items()]

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Read on from here; raises ValueError for a partition that is not ours."""
        consumer, _ = self._connected()
        strangers = [p for p in offsets if TopicPartition(*p) not in consumer.assignment()]
        if strangers:
            raise ValueError(f"cannot seek in partitions that are not assigned to us: {strangers}")
        for partition, offset in offsets.items():
            consumer.seek(TopicPartition(*partition), offset)

    def commit(self, offsets: Mapping[Partition, int], metadata: str) -> None:
        """Store offsets and metadata with the broker.

        Raises `RetryableSourceError` where the broker did not take them (away, or a rebalance is going on): commit
        again after the next poll. Within `Listener.on_revoked` it is sent when that returns.
        """
        consumer, rebalances = self._connected()
        stored = {TopicPartition(*p): OffsetAndMetadata(offset, metadata, -1) for p, offset in offsets.items()}
        if rebalances.deferred(stored):
            return
        with translated(self._settings, "committing offsets"):
            consumer.commit(stored, timeout_ms=milliseconds(self._settings.connect_timeout))

    def lag(self) -> dict[Partition, int]:
        """Messages that the broker has beyond our position, for every partition that it has told us about."""
        if self._consumer is None:
            return {}
        ends = {p: self._consumer.highwater(p) for p in self._consumer.assignment()}
        positions = self._positions(self._consumer)
        return {p: max(0, ends[p] - position) for p, position in positions.items() if ends.get(p) is not None}

    def other_members(self) -> list[str]:
        """Who else is in the group now, for a person; asks the broker. Empty before the first assignment.

        Two processes that start at the same moment share the partitions without a revocation: only this tells.
        """
        return other_members(self._settings, self.member_id) if self.member_id else []

    def close(self) -> None:
        """Leave the group and close the connections. Does not commit."""
        if self._consumer is None or self._rebalances is None:
            return
        self._rebalances.closing = True
        consumer, self._consumer = self._consumer, None
        with translated(self._settings, "leaving the group"):
            consumer.close(autocommit=False, timeout_ms=milliseconds(self._settings.close_timeout))

    def _connected(self) -> tuple[KafkaConsumer, Rebalances]:
        if self._consumer is None or self._rebalances is None:
            self._consumer = connect(self._settings)
            self._rebalances = Rebalances(self._consumer, self._listener)
            self._consumer.subscribe(sorted(self._settings.topics), listener=self._rebalances)
        return self._consumer, self._rebalances

    def _chunk(self, partition: TopicPartition, records: Sequence[Any]) -> Chunk:
        return Chunk(
            Partition(*partition),
            self._settings.topics[partition.topic],
            [record.offset for record in records],
            [record.value or b"" for record in records],
        )

    def _fetch(self, consumer: KafkaConsumer, max_messages: int, timeout: float) -> Mapping[TopicPartition, list[Any]]:
        with translated(self._settings, "reading"):
            try:
                return dict(consumer.poll(timeout_ms=int(timeout * 1000), max_records=max_messages))
            except OffsetOutOfRangeError as error:
                move_into_range(consumer, error.args[0], self._settings)
                self.resets += 1
            except LogTruncationError as error:
                move_into_range(consumer, error.divergent_offsets, self._settings)
                self.resets += 1
            except CorruptRecordError as error:
                step_over_corruption(consumer, error, self._settings)
                self.corrupt += 1
        return {}

    def _welcome(self, consumer: KafkaConsumer, rebalances: Rebalances) -> None:
        """Tells the listener of partitions that came, and starts to read them.

        Without an answer of the broker, or where the listener raises, they stay paused, and the next poll asks again.
        """
        partitions = sorted(rebalances.arrived)
        if not partitions:
            return
        wait = milliseconds(self._settings.connect_timeout)
        with translated(self._settings, "asking for committed offsets"):
            committed = {p: consumer.committed(p, metadata=True, timeout_ms=wait) for p in partitions}
            starts = edges(consumer, [p for p in partitions if committed[p] is None], self._settings)
        starts.update({p: found.offset for p, found in committed.items() if found is not None})
        known = {
            Partition(*p): None if found is None else Committed(found.offset, found.metadata or "")
            for p, found in committed.items()
        }
        starts.update({TopicPartition(*p): offset for p, offset in self._listener.on_assigned(known).items()})
        for partition in partitions:
            consumer.seek(partition, starts[partition])
        self._listener.on_positioned({Partition(*p): starts[p] for p in partitions})
        consumer.resume(*partitions)
        rebalances.arrived.difference_update(partitions)

    def _look_after(self, consumer: KafkaConsumer) -> None:
        """Warns of topics without partitions, and asks anew for partitions that stand still."""
        now = self._clock()
        self._warn_of_missing(consumer, now)
        if not self._watchdog.due(now):
            return
        positions = self._positions(consumer)
        wait = milliseconds(self._settings.connect_timeout / 10)
        try:
            ends = consumer.end_offsets([TopicPartition(*p) for p in positions], timeout_ms=wait) if positions else {}
        except KafkaError as error:
            log.warning("kafka_does_not_answer", servers=self._settings.address, error=str(error))
            ends = {}
        for stalled in self._watchdog.stalled(positions, {Partition(*p): end for p, end in ends.items()}, now):
            consumer.seek(TopicPartition(*stalled), positions[stalled])
            self.stalls += 1
            log.warning("kafka_partition_stalled", topic=stalled.topic, partition=stalled.number)

    def _warn_of_missing(self, consumer: KafkaConsumer, now: float) -> None:
        if now - self._missing_since < MISSING_TOPIC_EVERY:
            return
        self._missing_since = now
        missing = sorted(self._settings.topics.keys() - {p.topic for p in consumer.assignment()})
        if missing:
            meaning = "it does not exist yet, or another member reads it"
            log.warning("kafka_topic_missing", topics=missing, meaning=meaning)

    @staticmethod
    def _positions(consumer: KafkaConsumer) -> dict[Partition, int]:
        """The next offset of every partition that is being read."""
        asked = {p: consumer.position(p, timeout_ms=0) for p in consumer.assignment() - consumer.paused()}
        return {Partition(*p): position for p, position in asked.items() if position is not None}
