"""What Prometheus sees of what is done from time to time. Names and labels are public.

Label values are bounded: jobs are a fixed set, models, endpoints and versions are the configuration's and registry's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

Outcome = Literal["ok", "error", "skipped"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("ok", "error", "skipped")


class ScheduleMetrics:
    """The figures of one process, in the ``registry`` that is passed in. Any thread may set them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tocsin_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"tocsin_{name}", text, labels, registry=registry)

        self._runs = counter("schedule_runs", "Runs by outcome; skipped: the one before still ran.", "task", "outcome")
        self._misfires = counter("schedule_misfires", "Runs that came too late and were left out.", "task")
        self._success = gauge(
            "schedule_last_success_timestamp_seconds",
            "When a run last ended well, of the model for which that is longest ago; 0 for never.",
            "task",
        )
        self._ran = gauge("schedule_last_run_timestamp_seconds", "When a run last ended, however.", "task")
        self._period = gauge("schedule_period_seconds", "How often a task is to run.", "task")
        self._endpoint = gauge("endpoint_ok", "1 where an endpoint serves what it should.", "model", "endpoint")
        self._agreement = gauge(
            "endpoint_agreement_ratio", "Canaries answered as the serving version does.", "model", "endpoint"
        )
        self._canaries = gauge(
            "endpoint_canaries_timestamp_seconds", "When an endpoint last answered canaries.", "model", "endpoint"
        )
        self._mismatches = counter(
            "endpoint_mismatches", "Probes with canaries answered as another version would.", "model", "endpoint"
        )
        self._verified = gauge("registry_verified", "1 for a version that is what was signed.", "model", "version")
        self._pointers = gauge("registry_pointers_ok", "1 where the history accounts for both pointers.", "model")
        self._freed = counter("housekeeping_freed_bytes", "Bytes that housekeeping has freed.")
        self._successes: dict[str, dict[str, float]] = {}
        self._versions: dict[str, set[str]] = {}

    def known(self, job: str, seconds: float, model: str = "") -> None:
        """A job that runs every ``seconds``, for ``model`` where it is about one.

        Its figures are there at once, so that a rate sees the first change.
        """
        for outcome in OUTCOMES:
            self._runs.labels(job, outcome)
        self._misfires.labels(job)
        self._successes.setdefault(job, {})[model] = 0.0
        self._success.labels(job)
        self._ran.labels(job)
        self._period.labels(job).set(seconds)

    def ran(self, job: str, outcome: Outcome, at: float, model: str = "") -> None:
        """A run of a `known` job ended, or was skipped, ``at`` seconds since the epoch."""
        self._runs.labels(job, outcome).inc()
        if outcome != "skipped":
            self._ran.labels(job).set(at)
        if outcome == "ok":
            successes = self._successes[job]
            successes[model] = at
            self._success.labels(job).set(min(successes.values()))

    def misfired(self, job: str) -> None:
        """A run came too late."""
        self._misfires.labels(job).inc()

    def endpoint(self, model: str, endpoint: str, *, ok: bool, agreement: float | None, at: float) -> None:
        """What a probe saw ``at`` seconds since the epoch; without ``agreement`` the canaries could not be asked."""
        self._mismatches.labels(model, endpoint).inc(agreement is not None and agreement < 1.0)
        if agreement is not None:
            self._canaries.labels(model, endpoint).set(at)
        self._endpoint.labels(model, endpoint).set(float(ok))
        self._agreement.labels(model, endpoint).set(float("nan") if agreement is None else agreement)

    def verified(self, model: str, versions: Mapping[str, bool], *, pointers: bool) -> None:
        """Which versions of a model are what was signed; those that are gone are forgotten."""
        for gone in self._versions.get(model, set()) - set(versions):
            self._verified.remove(model, gone)
        for version, good in versions.items():
            self._verified.labels(model, version).set(float(good))
        self._versions[model] = set(versions)
        self._pointers.labels(model).set(float(pointers))

    def freed(self, n: int) -> None:
        """Bytes that were freed."""
        self._freed.inc(n)
