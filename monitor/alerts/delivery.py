"""An outlet of the loop that tells a SIEM, in threads of its own: the loop never waits for disk or receiver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from monitor.alerts.courier import Courier
from monitor.line_queue import WAITING, LineQueue
from monitor.watching.alert_metrics import AlertMetrics

log = structlog.get_logger()

RETRY_SECONDS: Final = 5.0
"""How long to wait after a failure that nobody thought of."""
LOOK_UP_SECONDS: Final = 0.2
"""How long a sender without work waits for some, at most."""


class Delivery:
    """An `Outlet`. ``append`` puts a line into a bounded queue and returns; ``courier`` does the rest.

    One thread brings lines to the disk, another one from there to the receiver: a receiver that hangs, even for ever,
    keeps nothing from the disk.
    """

    def __init__(self, name: str, courier: Courier, metrics: AlertMetrics, waiting: int = WAITING) -> None:
        self._name = name
        self._courier = courier
        self._metrics = metrics
        # what is dropped here is offered again at the next start
        self._lines = LineQueue(name, self._no_room, waiting)
        self._overflow = 0  # by the loop's thread
        self._told = 0  # by the taker's
        self._stopping = threading.Event()
        self._taken = threading.Event()
        self._fresh = threading.Event()
        self._taker = threading.Thread(target=self._take, name=f"tocsin-spool-{name}", daemon=True)
        self._sender = threading.Thread(target=self._send, name=f"tocsin-alerts-{name}", daemon=True)

    def start(self) -> None:
        """Start delivering."""
        self._taker.start()
        self._sender.start()

    def append(self, line: bytes) -> None:
        """See `Outlet`: one incident."""
        self._lines.put(line)

    def flush(self) -> None:
        """See `Outlet`: they are on their way."""

    def stop(self) -> None:
        """Nothing more comes: begin to end, without waiting for it."""
        self._stopping.set()
        self._fresh.set()

    def close(self, patience: float = 5.0) -> None:
        """Put everything on disk and try once more to send it, for ``patience`` seconds at most."""
        self.stop()
        self._sender.join(patience)
        if self._sender.is_alive():
            log.warning("leaving while alerts are being sent: they are sent again at the next start", sink=self._name)

    def _no_room(self, n: int) -> None:
        self._overflow += n
        self._metrics.dropped(self._name, "queue_full", n)

    def _take(self) -> None:
        while not (self._stopping.is_set() and not len(self._lines)):
            self._guarded(self._take_some)
        self._guarded(self._courier.last_words)
        self._taken.set()
        self._fresh.set()

    def _take_some(self) -> None:
        lines = self._lines.all()
        if n := self._overflow - self._told:
            self._courier.overflowed(n)
            self._told += n
        self._courier.take(lines)
        if lines:
            self._fresh.set()

    def _send(self) -> None:
        while not self._taken.is_set():
            self._fresh.clear()
            while not self._stopping.is_set() and self._guarded(self._courier.work):
                pass
            self._fresh.wait(LOOK_UP_SECONDS)
        try:
            self._courier.close()
        except Exception:
            log.exception("alerts were not closed in order", sink=self._name)

    def _guarded(self, step: Callable[[], bool | None]) -> bool:
        try:
            return bool(step())
        except Exception:
            log.exception("alerts are held up", sink=self._name)
            self._stopping.wait(RETRY_SECONDS)
            return False


def close_all(deliveries: Sequence[Delivery], patience: float = 5.0) -> None:
    """Close them side by side: a process that ends has ``patience`` seconds for all, however many receivers hang."""
    for delivery in deliveries:
        delivery.stop()
    until = time.monotonic() + patience
    for delivery in deliveries:
        delivery.close(max(0.0, until - time.monotonic()))
