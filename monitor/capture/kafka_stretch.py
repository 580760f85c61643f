"""Reads a stretch of Kafka topics without joining the group: nothing is committed, the daemon does not notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from kafka import KafkaConsumer, TopicPartition

from monitor.capture.gather import Stretch
from monitor.sources.kafka_connect import connect
from monitor.sources.kafka_errors import translated
from monitor.sources.kafka_settings import KafkaSettings, milliseconds
from monitor.sources.source import Chunk, Partition, PermanentSourceError, RetryableSourceError, Role

MARGIN: Final = 3600.0
"""Seconds around the stretch that are read as well, to see which sessions reach beyond it, and for late events."""
PATIENCE: Final = 30.0
"""Seconds without a message, while there are more to come, after which the broker counts as away."""

Offsets: TypeAlias = Mapping[TopicPartition, int]


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


def kafka_ranges(settings: KafkaSettings, wanted: Mapping[int, tuple[int, int]]) -> Iterator[Chunk]:
    """Offsets of the one topic in ``settings``: by partition the first, and the one after the last.

    Raises `RetryableSourceError`, and `PermanentSourceError` where the topic has or keeps no such offsets.
    """
    ((topic, role),) = settings.topics.items()
    consumer = connect(settings)
    try:
        with translated(settings, "reading"):
            partitions = _partitions(consumer, settings, topic)
            named = {TopicPartition(topic, number): ends for number, ends in wanted.items()}
            _require(named, consumer.beginning_offsets(partitions), consumer.end_offsets(partitions))
            starts, stops = ({p: ends[i] for p, ends in named.items()} for i in (0, 1))
            yield from _read(consumer, settings, starts, stops, role)
    finally:
        consumer.close()


def _require(named: Mapping[TopicPartition, tuple[int, int]], first: Offsets, end: Offsets) -> None:
    """That all of it is there."""
    for partition, (start, stop) in named.items():
        where = f"topic {partition.topic}, partition {partition.partition}"
        if partition not in end:
            raise PermanentSourceError(f"{where}: there is no such partition")
        if start < first[partition] or stop > end[partition]:
            held = f"it has {first[partition]} to {end[partition] - 1}"
            raise PermanentSourceError(f"{where}: offsets {start} to {stop - 1} are not all there: {held}")


def _partitions(consumer: KafkaConsumer, settings: KafkaSettings, topic: str) -> list[TopicPartition]:
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise RetryableSourceError(f"Kafka at {settings.address}: there is no topic {topic}, or it may not be read")
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def _topic(
    consumer: KafkaConsumer, settings: KafkaSettings, stretch: Stretch, topic: str, role: Role
) -> Iterator[Chunk]:
    partitions = _partitions(consumer, settings, topic)
    end = consumer.end_offsets(partitions)
    start = _at(consumer, partitions, stretch.start - MARGIN, end)
    stop = _at(consumer, partitions, stretch.end + MARGIN, end) if role == "inference" else end
    yield from _read(consumer, settings, start, stop, role)


def _read(
    consumer: KafkaConsumer, settings: KafkaSettings, start: Offsets, stop: Offsets, role: Role
) -> Iterator[Chunk]:
    """From ``start`` on and before ``stop``, in each partition of one topic."""
    open_ = [p for p in start if start[p] < stop[p]]
    consumer.assign(open_)
    for partition in open_:
        consumer.seek(partition, start[partition])
    while open_:
        polled = consumer.poll(timeout_ms=milliseconds(PATIENCE))
        if not polled:
            raise RetryableSourceError(f"Kafka at {settings.address}: nothing comes from {open_}: try again")
        for partition, records in polled.items():
            wanted = [r for r in records if r.offset < stop[partition]]
            values = [r.value or b"" for r in wanted]
            yield Chunk(Partition(partition.topic, partition.partition), role, [r.offset for r in wanted], values)
        through = [p for p in open_ if consumer.position(p) >= stop[p]]
        consumer.pause(*through)
        open_ = [p for p in open_ if p not in through]


def _at(
    consumer: KafkaConsumer, partitions: list[TopicPartition], at: float, end: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """The first offset of each partition that is not before that time; its end where there is none."""
    found = consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds(max(at, 0.001))))
    return {p: end[p] if found.get(p) is None else found[p].offset for p in partitions}
