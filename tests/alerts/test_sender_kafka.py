"""Alerts in a topic of a real Apache Kafka: keyed, in order, with their ids; a broker that goes away loses none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alert_lines import Way, line
from alert_lines import alert as plain_alert
from kafka import KafkaConsumer, TopicPartition
from kafka_broker import KafkaBroker

from monitor.alerts.alert import Alert
from monitor.alerts.open_sinks import open_sink
from monitor.alerts.sink import Sink, SinkRetryableError
from monitor.settings.sink_sections import SinkConfig

pytestmark = [
    pytest.mark.kafka,
    # kafka-python leaves refused sockets to the collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Opened = Callable[..., Sink]


@pytest.fixture
def opened(kafka: KafkaBroker) -> Iterator[Opened]:
    sinks: list[Sink] = []

    def make(topic: str, seconds: float = 10.0, **connection: Any) -> Sink:
        connection = {"bootstrap_servers": [kafka.bootstrap], **connection}
        config = SinkConfig.model_validate(
            {"type": "kafka", "topic": topic, "kafka": connection, "timeout_seconds": seconds}
        )
        sinks.append(open_sink(config, time.monotonic))
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.close()


def messages(kafka: KafkaBroker, topic: str, count: int) -> list[Any]:
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest", group_id=None)
    found: list[Any] = []
    try:
        consumer.assign([TopicPartition(topic, 0)])
        until = time.monotonic() + 30
        while len(found) < count and time.monotonic() < until:
            found += [record for records in consumer.poll(500).values() for record in records]
        return found
    finally:
        consumer.close()


def alert(number: int, size: int = 2) -> Alert:
    return plain_alert(number, b"x" * size, incident=f"{number % 3:032x}")


def test_alerts_are_messages_keyed_by_their_incident(
    kafka: KafkaBroker, topic: Callable[..., str], opened: Opened, tmp_path: Path
) -> None:
    name = topic("alerts")
    way = Way(tmp_path / "spool", opened(name))
    way.courier.take([line(i) for i in range(60)])
    sent = way.spool.peek(60)
    way.courier.work()
    way.courier.work()
    assert (len(way.spool), way.value("sent_total")) == (0, 60)
    found = messages(kafka, name, 60)
    assert [record.value for record in found] == [one.body for one in sent]
    assert [record.key.decode() for record in found] == [one.incident for one in sent]
    assert [list(record.headers) for record in found] == [[("tocsin-alert", one.id.encode())] for one in sent]


def test_the_keys_of_the_section_kafka_reach_a_broker_that_wants_a_login(
    kafka: KafkaBroker, topic: Callable[..., str], opened: Opened, tmp_path: Path
) -> None:
    name = topic("alerts")
    password = tmp_path / "password"
    secure = {
        "bootstrap_servers": [kafka.secure_bootstrap],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_username": kafka.USER,
        "sasl_password_file": password,
        "ssl_cafile": kafka.certificate,
    }
    sink = opened(name, seconds=3.0, **secure)
    with pytest.raises(SinkRetryableError, match="password cannot be read"):
        sink.send([alert(1)])
    password.write_text("wrong")
    with pytest.raises(SinkRetryableError, match="check the user name, the password and sasl_mechanism") as caught:
        sink.send([alert(1)])
    assert "wrong" not in str(caught.value)
    password.write_text(kafka.PASSWORD)
    assert sink.send([alert(1)]) == 0
    assert len(messages(kafka, name, 1)) == 1


def test_a_message_that_is_too_large_for_the_topic_holds_nobody_up(
    kafka: KafkaBroker, opened: Opened, tmp_path: Path
) -> None:
    name = f"small-{time.monotonic_ns()}"
    kafka.create_topic(name, config={"max.message.bytes": "3000"})
    way = Way(tmp_path / "spool", opened(name))
    way.spool.append([alert(0), alert(1, 5000), alert(2)])
    for _ in range(4):
        way.courier.work()
    assert {record.headers[0][1] for record in messages(kafka, name, 2)} == {b"alert-0", b"alert-2"}
    assert (way.dropped("refused"), len(way.spool)) == (1, 0)


def test_a_topic_that_is_missing_is_said_and_alerts_wait(opened: Opened) -> None:
    begun = time.monotonic()
    with pytest.raises(SinkRetryableError, match="topic nowhere"):
        opened("nowhere", seconds=2.0).send([alert(1)] * 5)
    assert time.monotonic() - begun < 10


def test_a_broker_that_is_away_is_said_in_time_and_leaves_no_threads() -> None:
    before = threading.active_count()
    config = SinkConfig.model_validate(
        {"type": "kafka", "topic": "t", "kafka": {"bootstrap_servers": ["127.0.0.1:1"]}, "timeout_seconds": 2}
    )
    sink = open_sink(config, time.monotonic)
    for _ in range(3):
        with pytest.raises(SinkRetryableError, match="no Kafka broker can be reached"):
            sink.send([alert(1)])
    assert threading.active_count() <= before


def test_a_broker_that_dies_and_returns_gets_everything(
    kafka: KafkaBroker, topic: Callable[..., str], opened: Opened, tmp_path: Path
) -> None:
    name = topic("alerts")
    before = threading.active_count()
    way = Way(tmp_path / "spool", opened(name, seconds=2.0))
    way.courier.take([line(i) for i in range(3)])
    way.courier.work()
    assert len(way.spool) == 0
    kafka.kill()
    way.courier.take([line(i) for i in range(3, 6)])
    for _ in range(2):
        begun = time.monotonic()
        way.courier.work()
        assert time.monotonic() - begun < 8
        way.clock.now += 100
    assert len(way.spool) == 3
    kafka.start()
    for _ in range(3):
        way.courier.work()
        way.clock.now += 100
    assert len(way.spool) == 0
    way.courier.close()
    assert threading.active_count() <= before
    keys = [int(record.key, 16) for record in messages(kafka, name, 6)]
    assert sorted(set(keys)) == list(range(6))
