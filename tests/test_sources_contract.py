"""What every source does alike: the same ten messages from memory, from a file and from Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from monitor.sources.file import FileSource
from monitor.sources.kafka import KafkaSource
from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.memory import MemoryLog, MemorySource
from monitor.sources.source import Committed, Partition, RetryableSourceError, Source

MESSAGES = [b'{"id": "%d", "ts": %d}' % (i, i) for i in range(10)]


@dataclass
class World:
    """Ten messages in one partition, and how to open a source on them (again and again)."""

    partition: Partition
    open: Callable[[Any], Source]


def memory_world() -> World:
    log = MemoryLog({"events": "inference"})
    log.extend("events", MESSAGES)
    return World(Partition("events", 0), lambda listener: MemorySource(log, listener))


def file_world(folder: Path) -> World:
    path = folder / "events.ndjson"
    path.write_bytes(b"\n".join(MESSAGES))
    return World(Partition(str(path), 0), lambda listener: FileSource([(path, "inference")], listener))


def kafka_world(request: pytest.FixtureRequest) -> World:
    topic = request.getfixturevalue("topic")("contract")
    bootstrap = request.getfixturevalue("kafka").bootstrap
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for message in MESSAGES:
        producer.send(topic, message)
    producer.close()
    settings = KafkaSettings([bootstrap], {topic: "inference"}, group_id=topic)
    return World(Partition(topic, 0), lambda listener: KafkaSource(settings, listener))


@pytest.fixture(params=["memory", "file", pytest.param("kafka", marks=pytest.mark.kafka)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    makers = {"memory": memory_world, "file": lambda: file_world(tmp_path), "kafka": lambda: kafka_world(request)}
    return makers[request.param]()


@pytest.fixture
def source(world: World, listener: Any) -> Iterator[Source]:
    opened = world.open(listener)
    yield opened
    opened.close()


def read(source: Source, count: int, max_messages: int = 100) -> list[tuple[int, bytes]]:
    """Offsets and values of the next ``count`` messages."""
    got: list[tuple[int, bytes]] = []
    deadline = time.monotonic() + 60
    while len(got) < count:
        assert time.monotonic() < deadline, f"only {len(got)} of {count} messages came"
        chunks = source.poll(max_messages, 1.0)
        assert sum(len(chunk.values) for chunk in chunks) <= max_messages
        for chunk in chunks:
            got.extend(zip(chunk.offsets, chunk.values, strict=True))
    return got


def test_every_message_comes_once_in_order_with_its_offset(source: Source) -> None:
    assert read(source, 10, max_messages=3) == list(enumerate(MESSAGES))
    assert source.poll(100, 0.0) == []


def test_chunks_say_where_they_are_from_and_what_they_carry(source: Source, world: World) -> None:
    chunks: list[Any] = []
    while not chunks:
        chunks.extend(source.poll(100, 1.0))
    assert chunks[0].partition == world.partition
    assert chunks[0].role == "inference"


def test_the_listener_hears_of_a_partition_before_its_first_message(
    source: Source, world: World, listener: Any
) -> None:
    read(source, 1, max_messages=1)
    assert listener.assigned == {world.partition: None}


def test_reading_starts_where_the_listener_says(source: Source, world: World, listener: Any) -> None:
    listener.starts = {world.partition: 7}
    assert read(source, 3) == list(enumerate(MESSAGES))[7:]


@pytest.mark.parametrize("start", [0, 7])
def test_the_listener_hears_where_reading_starts_before_the_first_message(
    source: Source, world: World, listener: Any, start: int
) -> None:
    listener.starts = {world.partition: start} if start else {}
    read(source, 1, max_messages=1)
    assert listener.positioned == {world.partition: start}


@pytest.mark.parametrize("world", ["memory", pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
def test_a_listener_that_cannot_commit_the_start_is_told_again_and_nothing_is_lost(
    source: Source, world: World, listener: Any
) -> None:
    listener.failures = [RetryableSourceError("the broker is away")]
    with pytest.raises(RetryableSourceError):
        read(source, 1)
    assert listener.positioned == {}
    assert read(source, 10) == list(enumerate(MESSAGES))
    assert listener.positioned == {world.partition: 0}


@pytest.mark.parametrize("world", ["memory", pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
def test_a_listener_may_commit_the_start(world: World, listener: Any) -> None:
    first = world.open(listener)
    listener.on_positioned = lambda offsets: first.commit(offsets, "start")
    read(first, 1)
    first.close()
    again = type(listener)()
    second = world.open(again)
    read(second, 1)
    assert again.assigned == {world.partition: Committed(0, "start")}
    second.close()


def test_after_a_seek_the_same_messages_come_again(source: Source, world: World) -> None:
    read(source, 10)
    source.seek({world.partition: 4})
    assert read(source, 6) == list(enumerate(MESSAGES))[4:]


def test_a_seek_skips_messages(source: Source, world: World) -> None:
    read(source, 2, max_messages=1)
    source.seek({world.partition: 8})
    assert read(source, 2) == list(enumerate(MESSAGES))[8:]


def test_a_seek_in_a_foreign_partition_is_refused(source: Source) -> None:
    read(source, 1)
    with pytest.raises(ValueError, match="elsewhere"):
        source.seek({Partition("elsewhere", 0): 0})


def test_a_commit_does_not_move_the_reader(source: Source, world: World) -> None:
    read(source, 5, max_messages=1)
    source.commit({world.partition: 2}, "checkpoint-1")
    assert read(source, 5) == list(enumerate(MESSAGES))[5:]


def test_lag_counts_what_is_still_to_come(source: Source, world: World) -> None:
    read(source, 6, max_messages=1)
    assert source.lag() == {world.partition: 4}


@pytest.mark.parametrize("world", ["memory", pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
def test_a_new_source_gets_the_committed_offset_and_its_metadata(world: World, listener: Any) -> None:
    first = world.open(listener)
    read(first, 6, max_messages=2)
    first.commit({world.partition: 6}, "checkpoint-1")
    first.close()
    second = world.open(listener)
    assert read(second, 4) == list(enumerate(MESSAGES))[6:]
    assert listener.assigned == {world.partition: Committed(6, "checkpoint-1")}
    assert listener.revoked == []
    second.close()


@pytest.mark.parametrize("world", ["memory", pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
def test_what_was_not_committed_comes_again(world: World, listener: Any) -> None:
    first = world.open(listener)
    read(first, 6)
    first.close()
    second = world.open(listener)
    assert read(second, 10) == list(enumerate(MESSAGES))
    second.close()
