"""Nobody else may be in the consumer group; a process of ours that was killed does not count for long."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka_broker import KafkaBroker

from monitor.sources.kafka import KafkaSource
from monitor.sources.kafka_group import other_members, require_empty_group
from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.source import PermanentSourceError, RetryableSourceError

pytestmark = pytest.mark.kafka

MEMBER = """
import sys
from monitor.sources.kafka import KafkaSource
from monitor.sources.kafka_settings import KafkaSettings
class Listener:
    def on_assigned(self, partitions):
        print("joined", flush=True)
        return {}
    def on_positioned(self, offsets):
        pass
bootstrap, topic = sys.argv[1:]
source = KafkaSource(KafkaSettings([bootstrap], {topic: "inference"}, topic, session_timeout=2.0), Listener())
while True:
    source.poll(10, 1.0)
"""


@pytest.fixture
def settings(kafka: KafkaBroker, topic: Callable[..., str]) -> KafkaSettings:
    name = topic("alone")
    return KafkaSettings([kafka.bootstrap], {name: "inference"}, group_id=name, session_timeout=2.0)


@pytest.fixture
def member(settings: KafkaSettings, listener: Any) -> Iterator[KafkaSource]:
    """A member of the group that polls in the background as long as the test asks it to."""
    source = KafkaSource(settings, listener)
    while not listener.assigned:
        source.poll(10, 0.1)
    yield source
    source.close()


def test_a_group_that_nobody_is_in_has_no_members(settings: KafkaSettings) -> None:
    assert other_members(settings) == []
    require_empty_group(settings)


def test_a_member_is_named_with_its_host(settings: KafkaSettings, member: KafkaSource) -> None:
    (found,) = other_members(settings)
    assert found == f"{member.member_id} at 127.0.0.1"


def test_a_member_does_not_count_itself(member: KafkaSource) -> None:
    assert member.other_members() == []


def test_a_living_member_is_refused_by_name(settings: KafkaSettings, member: KafkaSource) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        member.poll(10, 0.0)

    with pytest.raises(PermanentSourceError, match=f"{settings.group_id} .*{member.member_id} at 127"):
        require_empty_group(settings, sleep=sleep, clock=lambda: now)
    assert now >= settings.session_timeout


def test_a_member_that_was_killed_is_waited_for(settings: KafkaSettings) -> None:
    (topic,) = settings.topics
    with subprocess.Popen(
        [sys.executable, "-c", MEMBER, settings.bootstrap_servers[0], topic], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"joined\n"
        process.kill()
    assert len(other_members(settings)) == 1
    deadline = time.monotonic() + 60
    require_empty_group(settings, clock=lambda: 0.0 if time.monotonic() < deadline else 1e9)
    assert other_members(settings) == []


def test_the_former_self_of_a_static_member_does_not_count(settings: KafkaSettings, listener: Any) -> None:
    static = KafkaSettings(settings.bootstrap_servers, settings.topics, settings.group_id, group_instance_id="tocsin-0")
    source = KafkaSource(static, listener)
    while not listener.assigned:
        source.poll(10, 0.1)
    assert other_members(static) == []
    assert other_members(settings) == ["tocsin-0 at 127.0.0.1"]
    source.close()


def test_an_unreachable_broker_may_be_asked_again() -> None:
    with pytest.raises(RetryableSourceError, match=r"127\.0\.0\.1:1"):
        other_members(KafkaSettings(["127.0.0.1:1"], {"events": "inference"}, "group"))
