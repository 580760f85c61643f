"""What `tocsin doctor` finds at a real Kafka: one with access rules, whose plain listener is a super user's."""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
)
from kafka_broker import BrokerUnavailableError, KafkaBroker, collect_sockets, jars

from monitor.doctor.check import Result
from monitor.doctor.kafka import check_kafka
from monitor.doctor.kafka_guard import check_guard
from monitor.doctor.kafka_offsets import check_newest
from monitor.settings.config import Config
from monitor.settings.config_sections import KafkaConfig
from monitor.sources.kafka import KafkaSource
from monitor.sources.kafka_settings import KafkaSettings

pytestmark = pytest.mark.kafka

RULES = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
READ, WRITE, DESCRIBE = ACLOperation.READ, ACLOperation.WRITE, ACLOperation.DESCRIBE
TOPIC, GROUP = ResourceType.TOPIC, ResourceType.GROUP


class Guarded:
    """A running broker with an authorizer, and an administrator."""

    def __init__(self, broker: KafkaBroker, folder: Path) -> None:
        self.broker = broker
        self.admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        self._password = folder / "password"
        self._password.write_text(broker.PASSWORD)
        self.state = folder / "state"

    def allow(self, operation: ACLOperation, kind: ResourceType, name: str, who: str = "User:tocsin") -> None:
        rule = ACL(
            who, "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name, ACLResourcePatternType.LITERAL)
        )
        self.admin.create_acls([rule])
        for _ in range(300):  # a rule holds a moment after it was taken
            if self.admin.describe_acls(rule)[0]:
                return
            time.sleep(0.1)
        raise AssertionError(f"{rule} does not come to hold")

    def config(self, topic: str, *, limited: bool = False, **changes: Any) -> Config:
        """Topics are named after ``topic``; ``limited`` logs in as a user who may do what was allowed."""
        login: dict[str, Any] = {
            "bootstrap_servers": [self.broker.secure_bootstrap],
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_username": self.broker.USER,
            "sasl_password_file": self._password,
            "ssl_cafile": self.broker.certificate,
        }
        kafka: dict[str, Any] = {
            "bootstrap_servers": [self.broker.bootstrap],
            "inference_topic": topic,
            "trusted_feedback_topic": f"{topic}.trusted",
            "group_id": topic,
            **(login if limited else {}),
            **changes,
        }
        return Config(kafka=KafkaConfig(**kafka), state_dir=self.state)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Guarded]:
    try:
        jars()
    except BrokerUnavailableError:
        request.getfixturevalue("kafka")  # skips, or fails where nothing may be skipped
    folder = tmp_path_factory.mktemp("guarded")
    with KafkaBroker(folder / "broker", RULES) as broker:
        found = Guarded(broker, folder)
        yield found
        found.admin.close()
    collect_sockets()


@pytest.fixture
def topic(guarded: Guarded) -> str:
    """Events in two partitions, trusted labels, and requests for labels."""
    name = f"soc-{uuid.uuid4().hex[:8]}"
    guarded.broker.create_topic(name, 2)
    guarded.broker.create_topic(f"{name}.trusted")
    guarded.broker.create_topic(f"{name}.vetting")
    return name


def look(config: Config) -> dict[str, Result]:
    return {result.subject: result for result in check_kafka(config)}


def problems(found: dict[str, Result]) -> set[str]:
    return {subject for subject, result in found.items() if result.status == "problem"}


def send(guarded: Guarded, topic: str, count: int, **more: Any) -> None:
    producer = KafkaProducer(bootstrap_servers=guarded.broker.bootstrap)
    for i in range(count):
        producer.send(topic, b"{}", partition=i % 2, **more)
    producer.close()


def test_all_is_well_with_a_super_user(guarded: Guarded, topic: str) -> None:
    send(guarded, topic, 5)
    found = look(guarded.config(topic))
    assert problems(found) == set()
    assert found[f"topic {topic}"].message == "2 partitions, may be read (inference)"
    assert found[f"topic {topic}.trusted"].message == "1 partition, may be read (trusted)"
    assert found["vetting"].message == f"requests for labels can be written to topic {topic}.vetting"
    assert found["group"].message == f"nobody is in group {topic}"
    assert found[f"lag {topic}"].message == ("nothing read yet; kafka.start_at: earliest leaves 5 messages to be read")
    assert "clock" not in found


def test_a_topic_that_is_missing_is_a_problem_and_is_not_made(guarded: Guarded) -> None:
    name = f"none-{uuid.uuid4().hex[:8]}"
    found = look(guarded.config(name))
    assert problems(found) == {f"topic {name}", f"topic {name}.trusted"}
    assert found[f"topic {name}"].advice == "create it, or correct kafka.inference_topic"
    assert found["vetting"].status == "warning"
    assert name not in guarded.admin.list_topics()


def test_rights_that_are_missing_are_named_each(guarded: Guarded, topic: str) -> None:
    guarded.allow(DESCRIBE, TOPIC, topic)
    found = look(guarded.config(topic, limited=True))
    assert problems(found) == {f"topic {topic}", f"topic {topic}.trusted", "group"}
    assert found[f"topic {topic}"].advice == f"allow Read and Describe on topic {topic}"
    assert found["group"].advice == f"allow Read on group {topic}"
    assert found["vetting"].advice == f"allow Write on topic {topic}.vetting"
    assert "trusted labels" not in found


def test_the_rights_that_are_needed_are_enough(guarded: Guarded, topic: str) -> None:
    for name in (topic, f"{topic}.trusted"):
        guarded.allow(READ, TOPIC, name)
    guarded.allow(WRITE, TOPIC, f"{topic}.vetting")
    guarded.allow(READ, GROUP, topic)
    found = look(guarded.config(topic, limited=True))
    assert {result.status for result in found.values()} == {"ok"}
    assert found["trusted labels"].message.startswith(f"who may write {topic}.trusted is not told to us")


def test_a_wrong_password_is_a_problem_and_is_not_shown(guarded: Guarded, topic: str, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("hunter2")
    found = look(guarded.config(topic, limited=True, sasl_password_file=tmp_path / "wrong"))
    assert problems(found) == {"kafka"}
    assert "SaslAuthenticationFailedError" in found["kafka"].message
    assert "hunter2" not in found["kafka"].message


def test_a_trusted_topic_is_guarded_if_only_named_principals_write_it(guarded: Guarded, topic: str) -> None:
    def told() -> Result:
        return look(guarded.config(topic))["trusted labels"]

    assert told().status == "warning"
    assert told().message.startswith(f"no rule says who may write {topic}.trusted")
    guarded.allow(WRITE, TOPIC, f"{topic}.trusted", "User:analysts")
    assert told().status == "ok"
    assert told().message == f"besides super users, {topic}.trusted may be written by User:analysts"
    guarded.allow(ACLOperation.ALL, TOPIC, f"{topic}.trusted", "User:*")
    assert told().status == "warning"
    assert told().message.startswith(f"anybody may write {topic}.trusted, and be believed (User:*")


def test_another_member_of_the_group_is_a_problem_unless_it_is_the_daemon_here(
    guarded: Guarded, topic: str, listener: Any
) -> None:
    settings = KafkaSettings([guarded.broker.bootstrap], {topic: "inference"}, topic, session_timeout=30.0)
    source = KafkaSource(settings, listener)
    while not listener.assigned:
        source.poll(10, 0.1)
    found = look(guarded.config(topic))["group"]
    lock = guarded.state / "checkpoints" / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ours = look(guarded.config(topic))["group"]
    member = source.member_id
    source.close()
    assert found.status == "problem"
    assert found.message == f"group {topic} has another member: {member} at 127.0.0.1"
    assert ours.status == "ok"
    assert ours.message == f"in group {topic}: {member} at 127.0.0.1 (process {os.getpid()} here)"


def test_the_lag_counts_what_is_left_and_what_is_lost(guarded: Guarded, topic: str, listener: Any) -> None:
    send(guarded, topic, 10)
    settings = KafkaSettings([guarded.broker.bootstrap], {topic: "inference"}, topic)
    source = KafkaSource(settings, listener)
    while len(listener.assigned) < 2:
        source.poll(1, 0.1)
    source.commit(dict.fromkeys(listener.assigned, 2), "")
    source.close()
    assert look(guarded.config(topic))[f"lag {topic}"].message == "6 messages to be read"
    guarded.admin.delete_records({TopicPartition(topic, 0): 4})
    found = look(guarded.config(topic))[f"lag {topic}"]
    assert found.status == "warning"
    assert found.message == "2 messages were deleted before they were read; 4 are still to be read"


def test_a_message_from_the_future_tells_of_a_clock_that_is_off(guarded: Guarded, topic: str) -> None:
    send(guarded, topic, 1, timestamp_ms=round((time.time() + 600) * 1000))
    found = look(guarded.config(topic))["clock"]
    assert found.status == "warning"
    assert f"the newest message of topic {topic} is from" in found.message
    later = time.time() + 700
    assert list(check_newest(guarded.admin, [topic], lambda: later)) == []


def test_brokers_without_access_rules_guard_nothing(kafka: KafkaBroker) -> None:
    name = f"open-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(name)
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    (found,) = check_guard(admin, name, KafkaSettings([kafka.bootstrap], {name: "trusted"}, "group"))
    admin.close()
    assert found.status == "warning"
    assert found.message == f"the brokers have no access rules: anybody may write {name}, and be believed"


def test_a_broker_that_cannot_be_reached_is_one_problem() -> None:
    config = Config(kafka=KafkaConfig(bootstrap_servers=["127.0.0.1:1"], inference_topic="soc"))
    (found,) = check_kafka(config)
    assert (found.subject, found.status) == ("kafka", "problem")
    assert "127.0.0.1:1" in found.message
