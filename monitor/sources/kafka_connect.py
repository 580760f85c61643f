"""Connects to Kafka, and leaves nothing behind where that fails."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.net.compat import KafkaNetClient

from monitor.sources.kafka_errors import ADVICE, translated
from monitor.sources.kafka_settings import KafkaSettings, milliseconds
from monitor.sources.source import PermanentSourceError, RetryableSourceError

DEFAULT_PORT = 9092


def connect(settings: KafkaSettings) -> KafkaConsumer:
    """A consumer that has spoken to a broker; raises `RetryableSourceError` or `PermanentSourceError`."""
    return _connected(KafkaConsumer, settings, settings.consumer())


def connect_producer(settings: KafkaSettings, **options: Any) -> KafkaProducer:
    """A producer that waits for all replicas; raises as `connect`. ``options`` are further ones of kafka-python."""
    wait = milliseconds(settings.connect_timeout)
    chosen = {**settings.connection(), "acks": "all", "max_block_ms": wait, **options}
    return _connected(KafkaProducer, settings, chosen)


def _connected(kind: Callable[..., Any], settings: KafkaSettings, chosen: Mapping[str, Any]) -> Any:
    require_reachable(settings)
    clients: list[KafkaNetClient] = []

    def client(**options: Any) -> KafkaNetClient:
        clients.append(KafkaNetClient(**options))
        return clients[-1]

    try:
        with translated(settings, "connecting"), reason_of_failure():
            return kind(**chosen, kafka_client=client)
    except (RetryableSourceError, PermanentSourceError):
        for started in clients:  # a thread is started before the connection is there, and not ended
            started.close()
        raise


@contextmanager
def reason_of_failure() -> Iterator[None]:
    """Raises what stood in the way of a connection, which kafka-python only logs before it raises a timeout."""
    reasons = Reasons()
    logger = logging.getLogger("kafka.net.manager")
    logger.addHandler(reasons)
    try:
        yield
    except KafkaTimeoutError as error:
        if reasons.last is None:
            raise
        raise reasons.last from error
    finally:
        logger.removeHandler(reasons)


class Reasons(logging.Handler):
    """Keeps the last error that was logged as an argument of a message.

    Timeouts and lost connections tell little, and follow from a refused login: they never take its place.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last: KafkaError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Looks for an error in a message's arguments."""
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, KafkaError) and not isinstance(argument, KafkaTimeoutError):
                self.last = self.last if isinstance(self.last, tuple(ADVICE)) else argument


def require_reachable(settings: KafkaSettings) -> None:
    """Raises `RetryableSourceError` with the reason for each server where none takes a connection.

    kafka-python itself would only say that it could not start from any of them.
    """
    reasons = []
    for server in settings.bootstrap_servers:
        host, separator, port = server.rpartition(":")
        try:
            address = (host.strip("[]"), int(port)) if separator else (server, DEFAULT_PORT)
            socket.create_connection(address, timeout=settings.connect_timeout).close()
        except (OSError, ValueError) as error:
            reasons.append(f"{server}: {error}")
        else:
            return
    raise RetryableSourceError(
        f"no Kafka broker can be reached ({'; '.join(reasons)}): "
        "check that it runs, kafka.bootstrap_servers and the network"
    )
