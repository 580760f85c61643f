"""What outlets send to: a file descriptor, a Kafka topic."""

from __future__ import annotations

import os

import structlog
from kafka import KafkaProducer
from kafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from monitor.outlets import UndeliverableError
from monitor.sources.kafka_connect import connect_producer
from monitor.sources.kafka_settings import KafkaSettings

log = structlog.get_logger()

SEND_SECONDS = 30


class DescriptorEnd:
    """Writes lines to a file descriptor, stdout's as a rule, until its reader has gone; that is said once.

    After a crash some lines may come twice.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._gone: OSError | None = None

    def __call__(self, line: bytes) -> None:
        """Write one line with its end; raises `UndeliverableError` once nobody reads any more."""
        rest = line + b"\n"
        while rest and self._gone is None:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                self._gone = error
        if self._gone is not None:
            raise UndeliverableError(f"nobody reads it any more: {self._gone.strerror}")


class TopicEnd:
    """Writes lines as messages of a Kafka topic, and waits until the broker has each; connects when first needed."""

    def __init__(self, topic: str, settings: KafkaSettings) -> None:
        self._topic = topic
        self._settings = settings
        self._producer: KafkaProducer | None = None

    def __call__(self, line: bytes) -> None:
        """Send one line; raises `UndeliverableError` where it is too large, and other errors while it may be tried."""
        if self._producer is None:
            self._producer = connect_producer(self._settings)
        try:
            self._producer.send(self._topic, line).get(timeout=SEND_SECONDS)
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            raise UndeliverableError(f"topic {self._topic}: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        if self._producer is not None:
            self._producer.close(timeout=1.0)
