"""The two media of the demonstration: a log in this process, and a real Kafka broker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from monitor.sources.kafka import KafkaSource
from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.memory import MemoryLog, MemorySource
from monitor.sources.source import Listener, Role, Source


class Embedded:
    """A log in memory."""

    def __init__(self) -> None:
        self._log = MemoryLog({"events": "inference", "feedback": "feedback", "vetted": "trusted"})
        self._topics: Mapping[Role, str] = {"inference": "events", "feedback": "feedback", "trusted": "vetted"}

    def send(self, role: Role, values: Sequence[bytes]) -> None:
        """See `Medium`."""
        self._log.extend(self._topics[role], values)

    def connect(self, listener: Listener) -> Source:
        """See `Medium`."""
        return MemorySource(self._log, listener)

    def close(self) -> None:
        """See `Medium`."""


class Broker:
    """Three topics of one partition each, made for this run on the broker at ``address`` (host:port)."""

    def __init__(self, address: str) -> None:
        tag = f"tocsin-demo-{int(time.time())}"
        self._topics: dict[Role, str] = {
            "inference": f"{tag}.inference",
            "feedback": f"{tag}.feedback",
            "trusted": f"{tag}.vetted",
        }
        roles: dict[str, Role] = {topic: role for role, topic in self._topics.items()}
        self._settings = KafkaSettings(bootstrap_servers=[address], topics=roles, group_id=tag)
        try:
            admin = KafkaAdminClient(bootstrap_servers=[address])
            admin.create_topics([NewTopic(topic, 1, 1) for topic in roles])
            admin.close()
            self._producer = KafkaProducer(bootstrap_servers=[address], acks="all", linger_ms=5)
        except KafkaError as error:
            raise ConnectionError(f"the Kafka broker at {address} cannot be used: {error}") from error

    def send(self, role: Role, values: Sequence[bytes]) -> None:
        """See `Medium`."""
        for value in values:
            self._producer.send(self._topics[role], value)
        self._producer.flush()

    def connect(self, listener: Listener) -> Source:
        """See `Medium`."""
        return KafkaSource(self._settings, listener)

    def close(self) -> None:
        """See `Medium`."""
        self._producer.close()
