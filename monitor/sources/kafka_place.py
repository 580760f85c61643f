"""Where to go on reading when a position does not exist, or cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import CorruptRecordError

from monitor.sources.kafka_settings import KafkaSettings, milliseconds
from monitor.sources.source import PermanentSourceError

log = structlog.get_logger()

CORRUPT = re.compile(r"topic='(?P<topic>[^']+)', partition=(?P<number>\d+)\) at offset (?P<offset>\d+)")
"""How kafka-python's message names the place of a batch whose checksum is wrong."""


def edges(
    consumer: KafkaConsumer, partitions: Iterable[TopicPartition], settings: KafkaSettings
) -> dict[TopicPartition, int]:
    """The offsets at which ``start_at`` says to start."""
    asked = list(partitions)
    if not asked:
        return {}
    ask = consumer.beginning_offsets if settings.start_at == "earliest" else consumer.end_offsets
    return dict(ask(asked, timeout_ms=milliseconds(settings.connect_timeout)))


def move_into_range(
    consumer: KafkaConsumer, lost: Mapping[TopicPartition, int | OffsetAndMetadata | None], settings: KafkaSettings
) -> None:
    """Seeks where a position does not exist (expired, or a topic made anew) to what ``start_at`` says, and warns.

    After a truncation of the log (a leader with fewer messages was elected), ``lost`` holds the last offset that is
    still the same.
    """
    starts = edges(consumer, lost, settings)
    for partition, known in lost.items():
        start = known.offset if isinstance(known, OffsetAndMetadata) else starts[partition]
        consumer.seek(partition, start)
        log.warning(
            "kafka_offset_reset",
            topic=partition.topic,
            partition=partition.partition,
            wanted=known if isinstance(known, int) else None,
            start=start,
            start_at=settings.start_at,
            meaning="messages in between were deleted before they were read, or the topic was made anew",
        )


def step_over_corruption(consumer: KafkaConsumer, error: CorruptRecordError, settings: KafkaSettings) -> None:
    """Seeks one offset on in a batch that fails its checksum, and says which; raises where that cannot be told.

    The length of such a batch cannot be trusted, so it is left one offset at a time: nothing readable is skipped.
    """
    found = CORRUPT.search(str(error))
    if found is None:
        raise PermanentSourceError(f"Kafka at {settings.address}: {error}; move the group past it") from error
    partition = TopicPartition(found["topic"], int(found["number"]))
    position = consumer.position(partition, timeout_ms=milliseconds(settings.connect_timeout))
    offset = max(int(found["offset"]), position or 0)
    consumer.seek(partition, offset + 1)
    log.error("kafka_corrupt_message_skipped", topic=partition.topic, partition=partition.partition, offset=offset)
