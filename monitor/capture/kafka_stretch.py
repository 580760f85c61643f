"""Reads a stretch of Kafka topics without joining the group: nothing is committed, the daemon does not notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from kafka import KafkaConsumer, TopicPartition

from monitor.capture.gather import Stretch
from monitor.sources.kafka_connect import connect
from monitor.sources.kafka_errors import translated
from monitor.sources.kafka_settings import KafkaSettings, milliseconds
from monitor.sources.source import Chunk, Partition, RetryableSourceError, Role

MARGIN: Final = 3600.0
"""Seconds around the stretch that are read as well, to see which sessions reach beyond it, and for late events."""
PATIENCE: Final = 30.0
"""Seconds without a message, while there are more to come, after which the broker counts as away."""


def kafka_chunks(settings: KafkaSettings, stretch: Stretch) -> Iterator[Chunk]:
    """Events of the stretch and an hour around it, and all labels since; up to what is there when it begins.

    Where to begin and end is by the time that producer or broker put on a message. Raises `RetryableSourceError` and
    `PermanentSourceError`.
    """
    consumer = connect(settings)
    try:
        with translated(settings, "capturing"):
            for topic, role in settings.topics.items():
                yield from _topic(consumer, settings, stretch, topic, role)
    finally:
        consumer.close()


def _topic(
    consumer: KafkaConsumer, settings: KafkaSettings, stretch: Stretch, topic: str, role: Role
) -> Iterator[Chunk]:
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise RetryableSourceError(f"Kafka at {settings.address}: there is no topic {topic}, or it may not be read")
    partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
    end = consumer.end_offsets(partitions)
    start = _at(consumer, partitions, stretch.start - MARGIN, end)
    stop = _at(consumer, partitions, stretch.end + MARGIN, end) if role == "inference" else end
    open_ = [p for p in partitions if start[p] < stop[p]]
    consumer.assign(open_)
    for partition in open_:
        consumer.seek(partition, start[partition])
    while open_:
        polled = consumer.poll(timeout_ms=milliseconds(PATIENCE))
        if not polled:
            raise RetryableSourceError(f"Kafka at {settings.address}: nothing comes from topic {topic}: try again")
        for partition, records in polled.items():
            wanted = [r for r in records if r.offset < stop[partition]]
            values = [r.value or b"" for r in wanted]
            yield Chunk(Partition(topic, partition.partition), role, [r.offset for r in wanted], values)
        through = [p for p in open_ if consumer.position(p) >= stop[p]]
        consumer.pause(*through)
        open_ = [p for p in open_ if p not in through]


def _at(
    consumer: KafkaConsumer, partitions: list[TopicPartition], at: float, end: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """The first offset of each partition that is not before that time; its end where there is none."""
    found = consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds(max(at, 0.001))))
    return {p: end[p] if found.get(p) is None else found[p].offset for p in partitions}
