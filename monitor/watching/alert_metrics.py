"""What Prometheus sees of the alerts that are sent. Names and labels are public; sinks are the configured ones."""

from __future__ import annotations

from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

from monitor.alerts.breaker import STATES, State

DropReason = Literal["queue_full", "spool_full", "spool_failed", "flood", "muted", "refused", "unreadable"]
DROP_REASONS: Final[tuple[DropReason, ...]] = (
    "queue_full",
    "spool_full",
    "spool_failed",
    "flood",
    "muted",
    "refused",
    "unreadable",
)


class AlertMetrics:
    """The figures of all sinks of one process, in the ``registry`` that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tocsin_alerts_{name}", text, ("sink", *labels), registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"tocsin_alerts_{name}", text, ("sink",), registry=registry)

        self._sent = counter("sent", "Alerts that the receiver took.")
        self._failed = counter("failed_attempts", "Attempts that failed; the alerts are sent again.")
        self._dropped = counter("dropped", "Alerts that will not be sent.", "reason")
        self._folded = counter("folded", "Messages held back: muted, or too soon after the last of their incident.")
        self._waiting = gauge("waiting", "Alerts that wait to be sent.")
        self._spool = gauge("spool_bytes", "Bytes on disk that wait to be sent.")
        self._dead = gauge("dead_letter_bytes", "Bytes of refused alerts that wait for a person to send them again.")
        self._circuit = gauge("circuit_state", "Circuit breaker: 0 closed, 1 half open (one alert as a probe), 2 open.")
        self._success = gauge("last_success_timestamp_seconds", "When the receiver last took alerts; 0 for never.")

    def known(self, sink: str) -> None:
        """A sink: its figures are there from the start, so that a rate over them sees the first change."""
        self._sent.labels(sink)
        self._failed.labels(sink)
        self._folded.labels(sink)
        for reason in DROP_REASONS:
            self._dropped.labels(sink, reason)
        self._waiting.labels(sink)
        self._spool.labels(sink)
        self._dead.labels(sink)
        self._success.labels(sink)
        self._circuit.labels(sink)

    def sent(self, sink: str, n: int, at: float) -> None:
        """``n`` alerts were taken, at ``at`` seconds since the epoch."""
        self._sent.labels(sink).inc(n)
        self._success.labels(sink).set(at)

    def failed(self, sink: str) -> None:
        """An attempt failed."""
        self._failed.labels(sink).inc()

    def folded(self, sink: str, n: int) -> None:
        """Messages are held back; the newest of each incident is told later."""
        self._folded.labels(sink).inc(n)

    def dropped(self, sink: str, reason: DropReason, n: int = 1) -> None:
        """Alerts were given up."""
        self._dropped.labels(sink, reason).inc(n)

    def circuit(self, sink: str, state: State) -> None:
        """What the circuit breaker lets pass."""
        self._circuit.labels(sink).set(STATES.index(state))

    def waiting(self, sink: str, n: int, spool_bytes: int, dead_bytes: int) -> None:
        """What waits now: to be sent, and for a person."""
        self._waiting.labels(sink).set(n)
        self._spool.labels(sink).set(spool_bytes)
        self._dead.labels(sink).set(dead_bytes)
