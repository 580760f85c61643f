"""A process that shows every metric there is: what a panel asks for is there, whatever a deployment has configured."""

from __future__ import annotations

import time
from typing import Any, Self

from prometheus_client import CollectorRegistry

from monitor.messages import FAMILIES
from monitor.watching.alert_metrics import DROP_REASONS, AlertMetrics
from monitor.watching.health import Health
from monitor.watching.http import Listener
from monitor.watching.metrics import STATUSES, Metrics
from monitor.watching.process_metrics import Gpu, watch_process
from monitor.watching.response_metrics import PHASES, ResponseMetrics
from monitor.watching.schedule_metrics import OUTCOMES, ScheduleMetrics

MODEL, VERSION, UID = "nids", "2", "49f0600eefb3f8c24f6bff66fd3773a8"
NEW_VERSION, APPEARS_AFTER = "new", 25.0
"""A version that answers events only after so many seconds: what is seen of a deployment."""
GAUGES = {
    "prediction_entropy": ("entropy_mean", "entropy_p10", "entropy_p50", "entropy_p90", "margin_p50"),
    "importance_drift": ("distance_reference", "distance_lkg", "p_reference", "p_lkg"),
    "input_similarity": ("mmd", "mmd_p", "drifted_share", "sessions"),
    "pipeline_fault": ("null_share", "null_share_max"),
    "version_disagreement": ("disagreement_rate", "deep_rate", "null_rate", "deepest_rate", "acquittals"),
    "reference_harm": ("net_harm",),
    "evasion_burst": ("crafted_rate", "null_rate"),
    "probing": ("linked_rate",),
    "served_mismatch": ("mismatch_rate", "class_change_rate", "tolerance"),
    "label_agreement": ("labels", "unknown_labels", "trusted_error_rate_f", "untrusted_error_rate_g"),
}


class EveryMetric:
    """Everything at least once; `touch` lets all of it happen once more. A context manager that listens on ``port``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._metrics = Metrics(self.registry, "1.2.3", time.time)
        self._alerts = AlertMetrics(self.registry)
        self._board = ResponseMetrics(self.registry)
        watch_process(self.registry, lambda: [Gpu("0", 2.0**30, 2.0**31, 0.5)])
        self._schedule = ScheduleMetrics(self.registry)
        self._metrics.features(MODEL, ["port"])
        self._alerts.known("siem")
        self._schedule.known("canary_probe", 60.0)
        self._board.known(MODEL)
        self._begun = time.monotonic()
        self.touch()

    def touch(self) -> None:
        """Something of everything."""
        self._events()
        self._labels()
        self._responses()
        self._surroundings()
        self._metrics.window(record())
        for family in set(FAMILIES) - {"poisoning"}:
            self._metrics.window(record(f"of {family}", family))

    def _events(self) -> None:
        self._metrics.events(MODEL, VERSION, 5)
        for family in set(FAMILIES) - {"poisoning"}:
            self._metrics.events(MODEL, f"of {family}", 5)
        if time.monotonic() - self._begun > APPEARS_AFTER:
            self._metrics.events(MODEL, NEW_VERSION, 5)
        self._metrics.quarantined("-", "not_json", 2)
        self._metrics.duplicates(MODEL, 1)
        self._metrics.conflicts(MODEL, 1)
        self._metrics.late(MODEL, 1)
        self._metrics.future(MODEL, 1)

    def _labels(self) -> None:
        self._metrics.labels(MODEL, "joined", trusted=True)
        self._metrics.labels_pending(MODEL, 3)
        self._metrics.claimed_trust(MODEL)
        for outcome in ("asked", "answered", "expired"):
            self._metrics.vetting(MODEL, outcome, 4)

    def _responses(self) -> None:
        self._metrics.incidents_open(MODEL, 1)
        for family in FAMILIES:
            self._metrics.incident(MODEL, family, "create", UID)
        self._metrics.folded(MODEL)
        self._metrics.dismissed(MODEL)
        self._metrics.action(MODEL, "rollback", "done", UID)
        self._metrics.responses_waiting(MODEL, 1)
        self._board.phases(MODEL, {(action, phase): 1 for action, phases in PHASES.items() for phase in phases})
        self._board.held(on=True)
        for action in PHASES:
            self._board.took(MODEL, action, 40.0, UID)
        self._board.stages(MODEL, "training", {"reading": 1.0, "screening": 30.0, "training": 5.0})
        self._board.gate(MODEL, {"accuracy_loss": True, "recall_loss": False})
        self._board.audit(7, 7, 4096, time.time(), time.time())

    def _surroundings(self) -> None:
        self._metrics.lag({("soc.inference", 0): 7})
        self._metrics.source_error()
        self._metrics.line_dropped(1)
        self._metrics.checkpointed()
        self._metrics.turn(0.02)
        self._alerts.sent("siem", 1, time.time())
        self._alerts.failed("siem")
        for reason in DROP_REASONS:
            self._alerts.dropped("siem", reason)
        self._alerts.waiting("siem", 2, 100, 50)
        self._alerts.folded("siem", 1)
        self._alerts.circuit("siem", "closed")
        for outcome in OUTCOMES:
            self._schedule.ran("canary_probe", outcome, time.time())
        self._schedule.misfired("canary_probe")
        self._schedule.endpoint(MODEL, "http://a", ok=True, agreement=0.5, at=time.time())
        self._schedule.verified(MODEL, {VERSION: True}, pointers=True)
        self._schedule.freed(10)

    def __enter__(self) -> Self:
        self._listener = Listener("127.0.0.1:0", self.registry, Health(time.monotonic))
        self.port = self._listener.port
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


def record(version: str = VERSION, family: str = "poisoning") -> dict[str, Any]:
    """A judged window with every detector, each in another status."""
    detectors = {
        name: {
            "status": STATUSES[i % len(STATUSES)],
            "score": 0.5,
            "threshold": 7e6,
            "e_value": 10.0**i,
            "gauges": dict.fromkeys(gauges, 0.25) | {"swap_flip_gap": 0.5},
            "top": [{"name": "port", "contribution": 0.5}, {"name": "sensor-7", "contribution": -0.125}],
        }
        for i, (name, gauges) in enumerate(GAUGES.items())
    }
    shares = ("importance", "importance_last_known_good", "importance_reference")
    detectors["importance_drift"]["facts"] = {whose: {"port": 0.75} for whose in shares}
    verdict = {"family": family, "hypothesis": None, "confidence": 0.75, "family_confidence": 0.875}
    window = {"index": 0, "at": 1_750_000_000.0, "events": 5}
    return {"model": MODEL, "version": version, **window, "detectors": detectors, "verdict": verdict}
