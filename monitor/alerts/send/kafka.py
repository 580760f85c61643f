"""A Kafka topic: the alert is the message, its incident the key (so that they stay in order), all replicas have it.

The header `tocsin-alert` is the alert's id, the same each time it is sent: consumers drop repeats by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownTopicOrPartitionError,
)

from monitor.alerts.alert import Alert
from monitor.alerts.sink import Sink, SinkPermanentError, SinkRetryableError, SinkSurroundings
from monitor.settings.kafka_connection import KafkaConnection
from monitor.settings.problems import ConfigError
from monitor.settings.sink_sections import SinkConfig
from monitor.sources.kafka_configured import configured
from monitor.sources.kafka_connect import connect_producer
from monitor.sources.kafka_settings import KafkaSettings, milliseconds
from monitor.sources.source import PermanentSourceError, RetryableSourceError

ALERT: Final = "tocsin-alert"
CLIENT: Final = "tocsin-alerts"
GRACE_SECONDS: Final = 2.0
"""Longer than a message may take: then each has arrived or failed."""
TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)


class KafkaSink:
    """A `Sink`. ``connect`` gives a producer that gives a message up after ``seconds``, or raises a source's errors."""

    def __init__(
        self,
        topic: str,
        connect: Callable[[], KafkaProducer],
        seconds: float,
        heard: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._heard = heard
        self._topic = topic
        self._connect = connect
        self._seconds = seconds
        self._producer: KafkaProducer | None = None

    def send(self, alerts: Sequence[Alert]) -> int:
        """See `Sink`."""
        if not alerts:
            return 0
        try:
            self._deliver(self._connected(), alerts)
        except (RetryableSourceError, PermanentSourceError, ConfigError) as error:
            # what a person must mend is mended while the alerts wait
            raise SinkRetryableError(str(error)) from error
        except (SinkRetryableError, SinkPermanentError):
            self.close()
            raise
        return 0

    def close(self) -> None:
        """See `Sink`."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError):
                producer.close(timeout=1.0)

    def _connected(self) -> KafkaProducer:
        if self._producer is None:
            self._producer = self._connect()
        return self._producer

    def _deliver(self, producer: KafkaProducer, alerts: Sequence[Alert]) -> None:
        """Send all of them, wait for all, then judge them in order."""
        sent: list[Any] = []
        failure: KafkaError | None = None
        for alert in alerts:
            try:
                sent.append(self._one(producer, alert))
            except KafkaError as error:
                failure = error
                break
        try:
            producer.flush(timeout=self._seconds + GRACE_SECONDS)
            for i, future in enumerate(sent):
                self._judge(future, i)
        except KafkaError as error:
            raise SinkRetryableError(self._why(error)) from error
        if failure is not None:
            self._raise(failure, len(sent))

    def _one(self, producer: KafkaProducer, alert: Alert) -> Any:
        key, uid = (text.encode(errors="replace") for text in (alert.incident, alert.id))
        return producer.send(self._topic, alert.body, key, headers=[(ALERT, uid)])

    def _judge(self, future: Any, i: int) -> None:
        try:
            found = future.get(timeout=GRACE_SECONDS)
            self._heard(f"{found.topic}/{found.partition} has it at offset {found.offset}")
        except KafkaError as error:
            self._raise(error, i)

    def _raise(self, error: KafkaError, i: int) -> None:
        if isinstance(error, TOO_LARGE):
            raise SinkPermanentError(f"{self._why(error)}: see max_message_bytes", sent=i) from error
        raise SinkRetryableError(self._why(error), read=i) from error

    def _why(self, error: KafkaError) -> str:
        advice = ""
        if isinstance(error, AuthorizationError):
            advice = "; grant Write on it"
        elif isinstance(error, UnknownTopicOrPartitionError):
            advice = "; create it"
        return f"topic {self._topic}: {type(error).__name__}: {error}{advice}"


def producer_settings(kafka: KafkaConnection, topic: str, seconds: float) -> KafkaSettings:
    """The section as producers want it; reads the secrets' files, `ConfigError` where one cannot be read."""
    # there is no group: its name is for messages
    found = configured(kafka, {topic: "inference"}, CLIENT)
    return replace(found, connect_timeout=seconds, request_timeout=seconds / 2)


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:
    """The sink."""
    topic, kafka, seconds = config.topic or "", config.kafka, config.timeout_seconds

    def connect() -> KafkaProducer:
        if kafka is None:
            raise PermanentSourceError("no brokers are configured")
        return connect_producer(
            producer_settings(kafka, topic, seconds),
            delivery_timeout_ms=milliseconds(seconds),
            # one message that is too large would end an idempotent producer, and those beside it in its batch
            enable_idempotence=False,
            max_in_flight_requests_per_connection=1,
            batch_size=0,
            max_request_size=2 * config.message_limit(),
        )

    return KafkaSink(topic, connect, seconds, around.heard)
