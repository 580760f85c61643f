"""Partitions that come and go: from kafka-python's callbacks to a `Listener`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from kafka import AsyncConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from monitor.sources.source import Listener, Partition

log = structlog.get_logger()


class Rebalances(AsyncConsumerRebalanceListener):  # type: ignore[misc] # kafka-python ships no types
    """Hears of rebalances while `KafkaConsumer.poll` waits, on kafka-python's own thread.

    A partition that comes is only held back (paused) there: asking for its committed offset needs the network, which
    that thread must not wait for. The source asks once poll has returned, see `arrived`. A partition that goes is
    told to the listener at once, as the next member gets it right afterwards; a commit that the listener makes is
    sent before that, and awaited.
    """

    def __init__(self, consumer: KafkaConsumer, listener: Listener) -> None:
        self._consumer = consumer
        self._listener = listener
        self._commits: list[dict[TopicPartition, OffsetAndMetadata]] | None = None
        self.arrived: set[TopicPartition] = set()
        """Partitions that the listener has yet to be told of; paused until then."""
        self.failure: Exception | None = None
        """What the listener raised; the source raises it from poll."""
        self.closing = False
        """Set when we leave by ourselves: whoever closes knows that the partitions go."""

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Holds the partitions back until the source has asked where to start."""
        for partition in assigned:
            self._consumer.seek(partition, 0)  # any position: without one, poll itself would look for one
        self._consumer.pause(*assigned)
        self.arrived.update(assigned)

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Tells the listener, and sends what it commits."""
        told = self._told(revoked)
        if not told or self.closing:
            return
        self._commits = []
        try:
            self._listener.on_revoked(told)
        except Exception as error:  # noqa: BLE001 - raised again by the source, on the thread that called poll
            self.failure = error
        commits, self._commits = self._commits, None
        for offsets in commits:
            await self._send(offsets)

    async def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:
        """Tells the listener; nothing can be committed any more."""
        told = self._told(lost)
        if not told or self.closing:
            return
        log.warning("kafka_partitions_lost", partitions=[f"{p.topic}/{p.number}" for p in told])
        try:
            self._listener.on_lost(told)
        except Exception as error:  # noqa: BLE001 - raised again by the source, on the thread that called poll
            self.failure = error

    def deferred(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
        """Takes a commit that the listener makes within `Listener.on_revoked`; False at any other time."""
        if self._commits is None:
            return False
        self._commits.append(dict(offsets))
        return True

    def _told(self, partitions: Sequence[TopicPartition]) -> list[Partition]:
        """Those of the partitions that the listener knows of."""
        known = [Partition(*p) for p in sorted(partitions) if p not in self.arrived]
        self.arrived.difference_update(partitions)
        return known

    async def _send(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        try:
            await self._consumer.commit_async(offsets)
        except KafkaError as error:
            # The next member reads again what this commit was about: repeated, never lost.
            log.error("kafka_commit_on_revoke_failed", error=str(error), partitions=[tuple(p) for p in offsets])  # noqa: TRY400 - the trace says nothing more
