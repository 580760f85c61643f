"""Every metric of Tocsin with its labels and what these may hold: what `docs/metrics.md` is written from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from monitor.messages import FAMILIES
from monitor.watching.alert_metrics import DROP_REASONS, AlertMetrics
from monitor.watching.metrics import ACTIONS, ACTIVITIES, REQUESTS, RESULTS, STATUSES, TRUST, Metrics
from monitor.watching.process_metrics import families
from monitor.watching.response_metrics import ResponseMetrics
from monitor.watching.schedule_metrics import OUTCOMES, ScheduleMetrics
from rollback.retraining.stages import STAGES


@dataclass(frozen=True, slots=True)
class Described:
    """A metric as it is registered. ``name`` is that of its samples, `_total` included."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


GROUPS: Final[Mapping[str, Callable[[CollectorRegistry], object]]] = {
    "Events, labels, windows, verdicts": lambda registry: Metrics(registry, "", time.time),
    "Responses and the audit log": ResponseMetrics,
    "Scheduled work, endpoints, registry": ScheduleMetrics,
    "Alerts": AlertMetrics,
}
"""What registers metrics, by the heading that it has in the documentation."""
GPUS: Final = "The machine"


def words(*values: str) -> str:
    """A fixed set of label values, as it is documented."""
    return ", ".join(f"`{value}`" for value in values)


LABELS: Final[Mapping[str, str]] = {
    "model": "a configured model; `-` for messages that cannot be read",
    "version": "a version of the model; gauges are kept for the 32 that were heard of last",
    "reason": f"of unreadable messages: why; of alerts: {words(*DROP_REASONS)}",
    "outcome": (
        f"of labels: `joined`; of requests: {words(*REQUESTS)}; of actions: {words(*RESULTS)}; "
        f"of runs: {words(*OUTCOMES)}"
    ),
    "trust": words(*TRUST),
    "detector": "the name of a detector",
    "status": words(*STATUSES),
    "gauge": "a figure that the detector names, such as `entropy_p50`",
    "feature": "the 10 strongest features of the schema, the rest together as `other`",
    "of": "who decides so: `serving`, `last_known_good`, or the serving version on its own `reference`",
    "family": words(*FAMILIES),
    "activity": words(*ACTIVITIES),
    "action": words(*ACTIONS),
    "phase": "where a response stands: docs/rollback.md",
    "stage": words(*STAGES),
    "requirement": "a requirement of the release gate: docs/gate.md",
    "topic": "a configured topic",
    "partition": "a partition of it that is read here",
    "task": "a job of the schedule",
    "endpoint": "a configured endpoint",
    "sink": "a configured sink",
    "gpu": "the number that the driver gives it",
}
"""What each label may hold. None is ever named by whoever sends events: sources, sessions and ids are no labels."""


class Listing(CollectorRegistry):
    """A registry that remembers what was registered, in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.described: list[Described] = []

    def register(self, collector: Collector) -> None:
        """See `CollectorRegistry`."""
        super().register(collector)
        labels = tuple(getattr(collector, "_labelnames", ()))  # nothing public tells
        for metric in collector.describe():  # type: ignore[attr-defined]  # every metric of the library has it
            suffix = {"counter": "_total", "info": "_info"}.get(metric.type, "")
            self.described.append(Described(metric.name + suffix, metric.type, labels, metric.documentation))


def catalogue() -> dict[str, list[Described]]:
    """Every metric by its heading; those of the process itself (`process_*`) are the library's."""
    found = {}
    for heading, register in GROUPS.items():
        listing = Listing()
        register(listing)
        found[heading] = listing.described
    found[GPUS] = [Described(family.name, family.type, ("gpu",), family.documentation) for family in families()]
    return found
