"""An outlet of the loop that tells a SIEM, in a thread of its own: the loop never waits for disk or receiver."""

from __future__ import annotations

import threading
from typing import Final

import structlog

from monitor.alerts.courier import Courier
from monitor.line_queue import WAITING, LineQueue
from monitor.watching.alert_metrics import AlertMetrics

log = structlog.get_logger()

RETRY_SECONDS: Final = 5.0
"""How long to wait after a failure that nobody thought of."""


class Delivery:
    """An `Outlet`. ``append`` puts a line into a bounded queue and returns; ``courier`` does the rest."""

    def __init__(self, name: str, courier: Courier, metrics: AlertMetrics, waiting: int = WAITING) -> None:
        self._name = name
        self._courier = courier
        # what is dropped here is offered again at the next start
        self._lines = LineQueue(name, lambda n: metrics.dropped(name, "queue_full", n), waiting)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tocsin-alerts-{name}", daemon=True)

    def start(self) -> None:
        """Start delivering."""
        self._thread.start()

    def append(self, line: bytes) -> None:
        """See `Outlet`: one incident."""
        self._lines.put(line)

    def flush(self) -> None:
        """See `Outlet`: they are on their way."""

    def close(self, patience: float = 5.0) -> None:
        """Put everything on disk and try once more to send it, for ``patience`` seconds at most."""
        self._stopping.set()
        self._thread.join(patience)
        if self._thread.is_alive():
            log.warning("leaving while alerts are being sent: they are sent again at the next start", sink=self._name)

    def _run(self) -> None:
        while not (self._stopping.is_set() and not len(self._lines)):
            try:
                self._courier.take(self._lines.all())
                self._courier.work()
            except Exception:
                log.exception("alerts are held up", sink=self._name)
                self._stopping.wait(RETRY_SECONDS)
        try:
            self._courier.close()
        except Exception:
            log.exception("alerts were not closed in order", sink=self._name)
