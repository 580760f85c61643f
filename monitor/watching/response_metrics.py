"""What Prometheus sees of responses and of the audit log, as they stand. Names and labels are public.

Label values are bounded: models are the configured ones, actions, phases and requirements of the gate fixed sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Histogram

from monitor.watching.exemplar import exemplar
from rollback.retraining.stages import STAGES, Stage

MOVES: Final = ("approval", "verify", "swap", "reload", "confirm", "done", "served", "halted", "declined", "withdrawn")
PHASES: Final[Mapping[str, tuple[str, ...]]] = {
    "rollback": MOVES,
    "retraining": ("approval", "train", "made", "rejected", "halted", "declined", "withdrawn"),
    "promotion": MOVES,
}
"""Actions, and the phases that each may be in (`rollback.response.cases`)."""
DURATIONS: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21_600.0)


class ResponseMetrics:
    """The figures of one process, in the ``registry`` that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"tocsin_{name}", text, labels, registry=registry)

        self._phase = gauge("responses", "Responses by the phase that each is in.", "model", "action", "phase")
        self._held = gauge("responses_held", "1 while the kill switch holds every step.")
        self._took = Histogram(
            "tocsin_response_duration_seconds",
            "From the first step of a response to its last; no waiting for approval.",
            ("model", "action"),
            buckets=DURATIONS,
            registry=registry,
        )
        self._gate = gauge(
            "gate_requirement_passed", "1 where the latest candidate meets a requirement.", "model", "requirement"
        )
        self._stage = gauge("retraining_stage", "1 for the stage that a retraining is in.", "model", "stage")
        self._stage_took = gauge(
            "retraining_stage_seconds",
            "How long a stage of the latest retraining took; the one under way: until now.",
            "model",
            "stage",
        )
        self._records = gauge("audit_records", "Records of the audit log.")
        self._signed = gauge("audit_signed_records", "Records that the signed checkpoint stands for; 0 without one.")
        self._bytes = gauge("audit_size_bytes", "Size of the audit log.")
        self._written = gauge("audit_last_record_timestamp_seconds", "When the audit log was last written.")
        self._sealed = gauge(
            "audit_checkpoint_timestamp_seconds", "When the checkpoint was last signed; 0 without one."
        )
        self._requirements: dict[str, set[str]] = {}

    def known(self, model: str) -> None:
        """A model: its figures are there from the start."""
        for action in PHASES:
            self._took.labels(model, action)
        self.phases(model, {})
        self.stages(model, None, {})

    def phases(self, model: str, counts: Mapping[tuple[str, str], int]) -> None:
        """How many responses of a model are in each (action, phase)."""
        for action, phases in PHASES.items():
            for phase in phases:
                self._phase.labels(model, action, phase).set(counts.get((action, phase), 0))

    def took(self, model: str, action: str, seconds: float, incident: str) -> None:
        """A response has come to its end."""
        self._took.labels(model, action).observe(seconds, exemplar(incident))

    def stages(self, model: str, under_way: str | None, seconds: Mapping[Stage, float]) -> None:
        """In which stage a model's retraining is (None: in none), and how long each one took."""
        for stage in STAGES:
            self._stage.labels(model, stage).set(float(stage == under_way))
            self._stage_took.labels(model, stage).set(seconds.get(stage, 0.0))

    def held(self, *, on: bool) -> None:
        """The kill switch."""
        self._held.set(float(on))

    def gate(self, model: str, passed: Mapping[str, bool]) -> None:
        """What the release gate said of a model's latest candidate, by requirement; the one before is forgotten."""
        for gone in self._requirements.get(model, set()) - passed.keys():
            self._gate.remove(model, gone)
        for requirement, good in passed.items():
            self._gate.labels(model, requirement).set(float(good))
        self._requirements[model] = set(passed)

    def audit(self, records: int, signed: int, size: int, written: float, sealed: float) -> None:
        """How far the audit log has come; times in seconds since the epoch."""
        self._records.set(records)
        self._signed.set(signed)
        self._bytes.set(size)
        self._written.set(written)
        self._sealed.set(sealed)
