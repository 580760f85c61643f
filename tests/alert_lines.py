"""Incidents for tests of the alerts, a clock that stands still, and a sink's way to the receiver put together."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from monitor.alerts.admission import Admission, Place
from monitor.alerts.alert import Alert
from monitor.alerts.courier import Clocks, Courier
from monitor.alerts.dead_letters import DeadLetters
from monitor.alerts.encode.ocsf import OcsfEncoder
from monitor.alerts.encoder import Encoder
from monitor.alerts.flood import FloodLimit
from monitor.alerts.ledger import FILE as LEDGER
from monitor.alerts.ledger import open_ledger
from monitor.alerts.losses import Losses
from monitor.alerts.outgoing import NOTICE_FAMILY, Outgoing, Wanted
from monitor.alerts.seen import Seen
from monitor.alerts.send.memory import MemorySink
from monitor.alerts.sink import Sink
from monitor.alerts.spool import Spool
from monitor.messages import Alternative, EvidenceItem, ImplicatedItem, Incident, OffsetRange, TopItem, WindowItem
from monitor.watching.alert_metrics import AlertMetrics

NAME = "siem"


def incident(number: int = 0, **changes: Any) -> Incident:
    """A confirmed backdoor; ``number`` tells one incident from the other."""
    fields: dict[str, Any] = {
        "uid": f"{number:032x}",
        "activity": "create",
        "status": "confirmed",
        "model": "nids",
        "version": "2",
        "last_known_good": "1",
        "opened_at": 1767225600.0,
        "at": 1767225700.5,
        "window": WindowItem(3, "e1", "e9", [OffsetRange("soc.inference", 0, 10, 99)]),
        "family": "poisoning",
        "hypothesis": "backdoor",
        "confidence": 0.97,
        "family_confidence": 0.99,
        "alternatives": [Alternative("concept_drift", 0.03)],
        "evidence": [
            EvidenceItem("version_disagreement", "fired", 3.5, 2.0, 1e4, [TopItem("port", 0.5)]),
            EvidenceItem("prediction_entropy", "ok", 0.5, 2.0),
            EvidenceItem("served_mismatch", "warming", 0.0, 1.0),
        ],
        "implicated": ImplicatedItem(features={"port": 4444}, sources=["sensor-7"], labels=["benign"], events=["e1"]),
        "severity": 9,
        "atlas": ["AML.T0020", "AML.T0018.000"],
        "summary": "Version 2 calls attacks benign where port is 4444. Roll back to version 1.",
        **changes,
    }
    return Incident(**fields)


def line(number: int = 0, **changes: Any) -> bytes:
    """An incident as the loop writes it."""
    return msgspec.json.encode(incident(number, **changes))


def alert(number: int = 0, body: bytes = b"{}", **changes: Any) -> Alert:
    """One that nobody encoded; ``number`` tells one from the other."""
    fields: dict[str, Any] = {
        "id": f"alert-{number}",
        "incident": f"{number:032x}",
        "model": "nids",
        "family": "poisoning",
        "activity": "create",
        "status": "confirmed",
        "severity": 9,
        "at": 1767225600.0,
        "body": body,
        **changes,
    }
    return Alert(**fields)


def numbers(alerts: list[Alert]) -> list[int]:
    """Which incidents these are about; notices are about none."""
    return [int(alert.incident, 16) for alert in alerts if alert.family != NOTICE_FAMILY]


class Clock:
    """Stands still until it is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Way:
    """A courier and all that it works with, over a folder that outlives it."""

    folder: Path
    sink: Sink = field(default_factory=MemorySink)
    clock: Clock = field(default_factory=Clock)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    wanted: Wanted = field(default_factory=Wanted)
    encoder: Encoder = field(default_factory=lambda: OcsfEncoder("1.2.3", 65536))
    per_minute: float = 6000.0
    burst: int = 1000
    spool_bytes: int = 1_000_000
    place: Place | None = None
    began_at: float = 1767225600.0

    def __post_init__(self) -> None:
        self.metrics = AlertMetrics(self.registry)
        self.courier = self.start()

    def start(self) -> Courier:
        """A courier as a new process would make it."""
        self.spool = Spool(self.folder, self.spool_bytes, segment_bytes=4096)
        self.outgoing = Outgoing(
            NAME,
            self.wanted,
            FloodLimit(self.per_minute, self.burst, self.clock()),
            Seen(self.folder / "seen"),
            self.encoder,
            self.clock,
            self.wall,
            None if self.place is None else Admission(self.place, open_ledger(self.folder / LEDGER, self.wall())),
        )
        self.courier = Courier(
            NAME,
            self.outgoing,
            self.spool,
            DeadLetters(self.folder / "dead.ndjson"),
            Losses(self.folder / "losses.json"),
            self.sink,
            self.metrics,
            Clocks(self.wall, self.clock),
            random.Random(1),  # noqa: S311 - only spreads attempts over time
        )
        return self.courier

    def wall(self) -> float:
        return self.began_at + self.clock()

    def value(self, name: str, **labels: str) -> float:
        """A figure of the sink."""
        return self.registry.get_sample_value(f"tocsin_alerts_{name}", {"sink": NAME, **labels}) or 0.0

    def dropped(self, reason: str) -> float:
        return self.value("dropped_total", reason=reason)
