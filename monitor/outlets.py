"""Where the loop's lines go besides its files: another stream, a Kafka topic. None of them may hold the loop up."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TextIO

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaError

log = structlog.get_logger()

WAITING: Final = 1000
"""Lines that may wait for a slow topic; more are dropped, counted and said."""
RETRY_SECONDS: Final = 5.0


class Outlet(Protocol):
    """Where lines go."""

    def append(self, line: bytes) -> None:
        """Write one line, given without its end."""

    def flush(self) -> None:
        """Let readers see what was written."""


class Tee:
    """Writes every line to all outlets, in order."""

    def __init__(self, outlets: Sequence[Outlet]) -> None:
        self._outlets = outlets

    def append(self, line: bytes) -> None:
        """See `Outlet`."""
        for outlet in self._outlets:
            outlet.append(line)

    def flush(self) -> None:
        """See `Outlet`."""
        for outlet in self._outlets:
            outlet.flush()


class StreamOutlet:
    """Lines on a text stream, stdout as a rule; after a crash some may come twice."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def append(self, line: bytes) -> None:
        """See `Outlet`."""
        self._stream.write(line.decode() + "\n")
        self._stream.flush()

    def flush(self) -> None:
        """See `Outlet`."""
        self._stream.flush()


class TopicOutlet:
    """Lines as messages of a Kafka topic, sent by a thread of its own: a broker that is away holds nothing up.

    At least once; what does not fit into the queue meanwhile is dropped, and ``dropped`` is told how many.
    """

    def __init__(self, topic: str, connection: dict[str, Any], dropped: Callable[[int], None]) -> None:
        self._topic = topic
        self._connection = connection
        self._dropped = dropped
        self._lines: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name=f"tocsin-{topic}", daemon=True)
        self._thread.start()

    def append(self, line: bytes) -> None:
        """See `Outlet`."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped(1)
            log.warning("a line was dropped: the topic does not take them", topic=self._topic)

    def flush(self) -> None:
        """See `Outlet`: they are on their way."""

    def close(self, patience: float = 5.0) -> None:
        """Send what waits, for ``patience`` seconds at most."""
        self._stopping.set()
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            log.warning("leaving with unsent lines", topic=self._topic)
        self._thread.join(patience)

    def _send_all(self) -> None:
        producer: KafkaProducer | None = None
        line = self._lines.get()
        while line is not None:
            try:
                producer = producer or KafkaProducer(**self._connection, acks="all")
                producer.send(self._topic, line).get(timeout=30)
            except KafkaError as error:
                log.warning("a topic cannot be written", topic=self._topic, reason=str(error))
                if self._stopping.wait(RETRY_SECONDS):
                    return
                continue
            line = self._lines.get()
        if producer is not None:
            producer.close()
