"""Connects to Kafka, and leaves nothing behind where that fails."""

from __future__ import annotations

import socket
from typing import Any

from kafka import KafkaConsumer
from kafka.net.compat import KafkaNetClient

from monitor.sources.kafka_errors import translated
from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.source import RetryableSourceError

DEFAULT_PORT = 9092


def connect(settings: KafkaSettings) -> KafkaConsumer:
    """A consumer that has spoken to a broker; raises `RetryableSourceError` or `PermanentSourceError`."""
    require_reachable(settings)
    clients: list[KafkaNetClient] = []

    def client(**options: Any) -> KafkaNetClient:
        clients.append(KafkaNetClient(**options))
        return clients[-1]

    connected = False
    try:
        with translated(settings, "connecting"):
            consumer = KafkaConsumer(**settings.consumer(), kafka_client=client)
        connected = True
    finally:
        if not connected:  # the consumer starts its thread before it connects, and does not end it
            for started in clients:
                started.close()
    return consumer


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
