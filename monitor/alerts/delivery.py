"""An outlet of the loop that tells a SIEM, in a thread of its own: the loop never waits for disk or receiver."""

from __future__ import annotations

import queue
import threading
from typing import Final

import structlog

from monitor.alerts.courier import Courier
from monitor.watching.alert_metrics import AlertMetrics

log = structlog.get_logger()

WAITING: Final = 1000
"""Lines that may wait for the thread; more are dropped, counted and said, and offered again at the next start."""
LOOK_UP_SECONDS: Final = 0.2
"""How soon `close` is noticed."""
RETRY_SECONDS: Final = 5.0
"""How long to wait after a failure that nobody thought of."""


class Delivery:
    """An `Outlet`. ``append`` puts a line into a bounded queue and returns; ``courier`` does the rest."""

    def __init__(self, name: str, courier: Courier, metrics: AlertMetrics, waiting: int = WAITING) -> None:
        self._name = name
        self._courier = courier
        self._metrics = metrics
        self._lines: queue.Queue[bytes] = queue.Queue(waiting)
        self._full = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tocsin-alerts-{name}", daemon=True)

    def start(self) -> None:
        """Start delivering."""
        self._thread.start()

    def append(self, line: bytes) -> None:
        """See `Outlet`: one incident."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._metrics.dropped(self._name, "queue_full")
            if not self._full:
                log.warning("alerts are dropped: too many wait", sink=self._name, waiting=self._lines.maxsize)
            self._full = True
        else:
            self._full = False

    def flush(self) -> None:
        """See `Outlet`: they are on their way."""

    def close(self, patience: float = 5.0) -> None:
        """Put everything on disk and try once more to send it, for ``patience`` seconds at most."""
        self._stopping.set()
        self._thread.join(patience)
        if self._thread.is_alive():
            log.warning("leaving while alerts are being sent: they are sent again at the next start", sink=self._name)

    def _run(self) -> None:
        while not (self._stopping.is_set() and self._lines.empty()):
            try:
                self._courier.take(self._next())
                self._courier.work()
            except Exception:
                log.exception("alerts are held up", sink=self._name)
                self._stopping.wait(RETRY_SECONDS)
        try:
            self._courier.close()
        except Exception:
            log.exception("alerts were not closed in order", sink=self._name)

    def _next(self) -> list[bytes]:
        """All lines that wait, none after a moment without any."""
        lines: list[bytes] = []
        try:
            lines.append(self._lines.get(timeout=LOOK_UP_SECONDS))
            while True:
                lines.append(self._lines.get_nowait())
        except queue.Empty:
            return lines
