"""KafkaSource against a real Apache Kafka: rebalances, restarts, poison, and brokers that go away."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka_broker import KafkaBroker

from monitor.sources.kafka import KafkaSource
from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.source import Committed, Partition, PermanentSourceError, RetryableSourceError

pytestmark = [
    pytest.mark.kafka,
    # kafka-python leaves refused sockets to the collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Place = tuple[Partition, int]
TopicMaker = Callable[..., str]


@pytest.fixture
def opened() -> Iterator[Callable[..., KafkaSource]]:
    """Opens sources that are closed after the test."""
    sources: list[KafkaSource] = []

    def create(settings: KafkaSettings, listener: Any) -> KafkaSource:
        sources.append(KafkaSource(settings, listener))
        return sources[-1]

    yield create
    for source in sources:
        source.close()


@pytest.fixture
def producer(kafka: KafkaBroker) -> Iterator[KafkaProducer]:
    made = KafkaProducer(bootstrap_servers=kafka.bootstrap, max_request_size=70 * 2**20)
    yield made
    made.close()


class Committing:
    """A listener that keeps positions in the broker alone, committed before partitions go."""

    def __init__(self) -> None:
        self.source: KafkaSource | None = None
        self.positions: dict[Partition, int] = {}
        self.revoked: list[Partition] = []

    def on_assigned(self, partitions: Mapping[Partition, Committed | None]) -> Mapping[Partition, int]:
        self.positions.update({p: found.offset if found else 0 for p, found in partitions.items()})
        return {}

    def on_positioned(self, offsets: Mapping[Partition, int]) -> None:
        assert offsets == {p: self.positions[p] for p in offsets}

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        assert self.source is not None
        self.source.commit({p: self.positions.pop(p) for p in partitions}, "left")
        self.revoked.extend(partitions)

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        raise AssertionError(f"lost {partitions}")

    def read(self, max_messages: int = 7) -> list[Place]:
        assert self.source is not None
        places = []
        for chunk in self.source.poll(max_messages, 0.2):
            self.positions[chunk.partition] = chunk.offsets[-1] + 1
            places.extend([(chunk.partition, offset) for offset in chunk.offsets])
        return places


def until(done: Callable[[], bool], step: Callable[[], Any], seconds: float = 60) -> None:
    """Takes steps until it is done; fails after a generous time."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "did not happen in time"
        step()


@contextmanager
def beside(step: Callable[[], Any]) -> Iterator[None]:
    """Takes steps in another thread, as another process would."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def read(source: KafkaSource, count: int) -> list[tuple[int, bytes]]:
    got: list[tuple[int, bytes]] = []

    def step() -> None:
        for chunk in source.poll(1000, 0.5):
            got.extend(zip(chunk.offsets, chunk.values, strict=True))

    until(lambda: len(got) >= count, step)
    return got


def settings_of(kafka: KafkaBroker, topic: str, **options: Any) -> KafkaSettings:
    return KafkaSettings([kafka.bootstrap], {topic: "inference"}, group_id=f"group-of-{topic}", **options)


def test_a_member_that_joins_and_leaves_makes_nothing_read_twice_or_never(
    kafka: KafkaBroker, topic: TopicMaker, producer: KafkaProducer, opened: Any
) -> None:
    name = topic("shared", 4)
    settings = settings_of(kafka, name)
    sent: set[Place] = set()

    def send(count: int) -> None:
        futures = [producer.send(name, b"%d" % i, partition=i % 4) for i in range(count)]
        producer.flush()
        sent.update((Partition(name, f.value.partition), f.value.offset) for f in futures)

    first, second = Committing(), Committing()
    first.source = opened(settings, first)
    seen: list[Place] = []
    send(200)
    until(lambda: len(seen) >= 50, lambda: seen.extend(first.read()))

    second.source = opened(settings, second)
    with beside(lambda: seen.extend(second.read())):
        until(lambda: len(second.positions) == 2 and len(first.positions) == 2, lambda: seen.extend(first.read()))
        send(100)
        until(lambda: len(seen) >= 300, lambda: seen.extend(first.read()))
    second.source.commit(second.positions, "leaving")
    second.source.close()
    send(100)
    until(lambda: len(seen) >= 400, lambda: seen.extend(first.read()))
    assert len(first.revoked) == 2
    assert sorted(seen) == sorted(sent)


def test_after_a_restart_reading_goes_on_at_the_committed_offset(
    kafka: KafkaBroker, topic: TopicMaker, producer: KafkaProducer, opened: Any, listener: Any
) -> None:
    name = topic("restart", 2)
    for i in range(20):
        producer.send(name, b"%d" % i, partition=i % 2)
    producer.flush()
    first = opened(settings_of(kafka, name), listener)
    read(first, 20)
    first.commit({Partition(name, 0): 3, Partition(name, 1): 9}, "checkpoint 4f")
    first.close()
    second = opened(settings_of(kafka, name), listener)
    assert sorted(read(second, 8)) == sorted([(i, b"%d" % (2 * i)) for i in range(3, 10)] + [(9, b"19")])
    assert listener.assigned == {
        Partition(name, 0): Committed(3, "checkpoint 4f"),
        Partition(name, 1): Committed(9, "checkpoint 4f"),
    }


def test_without_a_committed_offset_start_at_decides(
    kafka: KafkaBroker, topic: TopicMaker, producer: KafkaProducer, opened: Any, listener: Any
) -> None:
    name = topic("latest")
    producer.send(name, b"before").get(30)
    source = opened(settings_of(kafka, name, start_at="latest"), listener)
    until(lambda: bool(listener.assigned), lambda: source.poll(10, 0.5))
    producer.send(name, b"after").get(30)
    assert read(source, 1) == [(1, b"after")]


def test_a_poison_pill_is_delivered_as_it_is_and_stops_nothing(
    kafka: KafkaBroker, topic: TopicMaker, producer: KafkaProducer, opened: Any, listener: Any
) -> None:
    name = topic("poison")
    huge = os.urandom(50 * 2**20)
    values = [b"before", b"\x00\xff{{{", None, huge, b"after"]
    for value in values:
        producer.send(name, value, key=b"key").get(60)
    source = opened(settings_of(kafka, name, fetch_bytes=2**20, partition_fetch_bytes=2**16), listener)
    got = read(source, 5)
    assert [offset for offset, _ in got] == [0, 1, 2, 3, 4]
    assert [value for _, value in got] == [b"before", b"\x00\xff{{{", b"", huge, b"after"]


@pytest.mark.parametrize("codec", ["lz4", "zstd", "snappy", "gzip"])
def test_compressed_batches_are_read(
    kafka: KafkaBroker, topic: TopicMaker, opened: Any, listener: Any, codec: str
) -> None:
    name = topic(codec)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type=codec, linger_ms=50)
    values = [b"%d" % i * 50 for i in range(500)]
    for value in values:
        producer.send(name, value)
    producer.close()
    assert read(opened(settings_of(kafka, name), listener), 500) == list(enumerate(values))


def test_a_topic_that_does_not_exist_yet_is_read_when_it_appears(
    kafka: KafkaBroker, topic: TopicMaker, producer: KafkaProducer, opened: Any, listener: Any
) -> None:
    present = topic("present")
    absent = present.replace("present", "absent")
    topics = {present: "inference", absent: "feedback"}
    source = opened(KafkaSettings([kafka.bootstrap], topics, f"group-of-{present}", metadata_interval=1.0), listener)
    producer.send(present, b"event").get(30)
    assert read(source, 1) == [(0, b"event")]
    kafka.create_topic(absent)
    producer.send(absent, b"label").get(30)
    chunks: list[Any] = []
    until(lambda: bool(chunks), lambda: chunks.extend(source.poll(10, 0.5)))
    assert (chunks[0].partition, chunks[0].role, chunks[0].values) == (Partition(absent, 0), "feedback", [b"label"])
    assert listener.revoked == []


@pytest.mark.parametrize("crash", [False, True], ids=["in order", "crash"])
def test_a_broker_that_restarts_in_mid_stream_costs_nothing(
    kafka: KafkaBroker, topic: TopicMaker, opened: Any, listener: Any, *, crash: bool
) -> None:
    name = topic("outage")

    def send(values: Sequence[bytes]) -> None:
        producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
        for value in values:
            producer.send(name, value)
        producer.close()

    values = [b"%d" % i for i in range(1000)]
    send(values[:500])
    source = opened(settings_of(kafka, name), listener)
    got: list[tuple[int, bytes]] = []

    def step(most: int = 100) -> None:
        for chunk in source.poll(most, 0.2):
            got.extend(zip(chunk.offsets, chunk.values, strict=True))

    until(lambda: len(got) >= 200, step)
    source.commit({Partition(name, 0): len(got)}, "before")
    _ = kafka.kill() if crash else kafka.stop()
    for _ in range(5):
        step()
    kafka.start()
    send(values[500:])
    until(lambda: len(got) >= 1000, step)
    assert got == list(enumerate(values))
    source.commit({Partition(name, 0): 1000}, "after")


def test_a_position_that_was_deleted_is_reset_and_counted(
    kafka: KafkaBroker, topic: TopicMaker, producer: KafkaProducer, opened: Any, listener: Any
) -> None:
    name = topic("expired")
    for i in range(10):
        producer.send(name, b"%d" % i)
    producer.flush()
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.delete_records({TopicPartition(name, 0): 6})
    admin.close()
    listener.starts = {Partition(name, 0): 2}
    source = opened(settings_of(kafka, name), listener)
    assert read(source, 4) == [(i, b"%d" % i) for i in range(6, 10)]
    assert source.resets == 1


def test_a_batch_that_fails_its_checksum_is_skipped_counted_and_nothing_else_is(
    kafka: KafkaBroker, topic: TopicMaker, producer: KafkaProducer, opened: Any, listener: Any
) -> None:
    name = topic("corrupt")
    for value in (b"before", b"CORRUPT-ME", b"after"):
        producer.send(name, value).get(30)
    kafka.stop()
    kafka.damage(name, b"CORRUPT-ME")
    kafka.start()
    source = opened(settings_of(kafka, name), listener)
    assert read(source, 2) == [(0, b"before"), (2, b"after")]
    assert source.corrupt == 1


def test_an_unreachable_broker_is_named_and_may_be_tried_again(listener: Any) -> None:
    source = KafkaSource(KafkaSettings(["127.0.0.1:1"], {"events": "inference"}, "group"), listener)
    for _ in range(2):
        with pytest.raises(RetryableSourceError, match=r"127\.0\.0\.1:1: .*refused.*bootstrap_servers"):
            source.poll(10, 0.1)
    source.close()


def test_what_the_listener_raises_comes_out_of_poll(
    kafka: KafkaBroker, topic: TopicMaker, opened: Any, listener: Any
) -> None:
    class Refusing(type(listener)):
        def on_revoked(self, _partitions: Sequence[Partition]) -> None:
            raise PermanentSourceError("not alone")

    name = topic("refused", 2)
    settings = settings_of(kafka, name)
    refusing = Refusing()
    first, second = opened(settings, refusing), opened(settings, listener)
    until(lambda: len(refusing.assigned) == 2, lambda: first.poll(10, 0.1))

    with beside(lambda: second.poll(10, 0.1)), pytest.raises(PermanentSourceError, match="not alone"):
        until(lambda: False, lambda: first.poll(10, 0.1))


def test_of_two_processes_with_one_instance_id_the_older_cannot_commit_any_more(
    kafka: KafkaBroker, topic: TopicMaker, producer: KafkaProducer, opened: Any, listener: Any
) -> None:
    name = topic("static")
    producer.send(name, b"event").get(30)
    settings = settings_of(kafka, name, group_instance_id="tocsin-0")
    first, second = opened(settings, listener), opened(settings, listener)
    assert read(first, 1) == [(0, b"event")]
    assert read(second, 1) == [(0, b"event")]
    with pytest.raises(PermanentSourceError, match="group_instance_id"):
        first.commit({Partition(name, 0): 1}, "too late")
    second.commit({Partition(name, 0): 1}, "checkpoint")


def secure(kafka: KafkaBroker, topic: str, **options: Any) -> KafkaSettings:
    login = {"sasl_mechanism": "PLAIN", "sasl_username": KafkaBroker.USER, "sasl_password": KafkaBroker.PASSWORD}
    whole = {"security_protocol": "SASL_SSL", "ssl_cafile": kafka.certificate, **login, **options}
    return KafkaSettings([kafka.secure_bootstrap], {topic: "inference"}, f"group-of-{topic}", **whole)


def test_a_broker_that_wants_tls_and_a_password_is_read(
    kafka: KafkaBroker, topic: TopicMaker, producer: KafkaProducer, opened: Any, listener: Any
) -> None:
    name = topic("secure")
    producer.send(name, b"event").get(30)
    source = opened(secure(kafka, name), listener)
    assert read(source, 1) == [(0, b"event")]
    assert source.other_members() == []


def test_a_wrong_password_is_refused_for_good(kafka: KafkaBroker, opened: Any, listener: Any) -> None:
    source = opened(secure(kafka, "events", connect_timeout=3.0, sasl_username="eve"), listener)

    def attempt() -> None:
        with suppress(RetryableSourceError):  # the broker may close the connection before it says why
            source.poll(10, 0.1)

    with pytest.raises(PermanentSourceError, match=r"user name.*password"):
        until(lambda: False, attempt)


def test_a_certificate_of_nobody_we_know_is_refused(kafka: KafkaBroker, opened: Any, listener: Any) -> None:
    source = opened(secure(kafka, "events", ssl_cafile=None, connect_timeout=3.0), listener)
    with pytest.raises(RetryableSourceError, match=r"CERTIFICATE_VERIFY_FAILED.*TLS"):
        source.poll(10, 0.1)


def test_passwords_are_not_shown(kafka: KafkaBroker) -> None:
    assert KafkaBroker.PASSWORD not in repr(secure(kafka, "events", ssl_password=KafkaBroker.PASSWORD))
