"""What to do about a verdict: a pure function, so that every decision can be replayed and argued about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["observe", "propose", "act"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What the policy needs of an incident."""

    incident: str
    model: str
    version: str
    family: str
    status: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One step: make ``target`` serve instead of ``expected``. ``key`` makes repeating it harmless."""

    action: Literal["rollback"]
    incident: str
    model: str
    expected: str
    target: str
    key: str
    reason: str


def decide(
    finding: Finding, serving: str | None, last_known_good: str | None, minimum_confidence: float
) -> Plan | None:
    """A rollback where a confirmed poisoning is in the version that serves; nothing otherwise. Drift never rolls back.

    >>> poisoned = Finding("i1", "nids", "2", "poisoning", "confirmed", 0.99)
    >>> decide(poisoned, serving="2", last_known_good="1", minimum_confidence=0.95).target
    '1'
    >>> decide(poisoned, serving="1", last_known_good="1", minimum_confidence=0.95) is None
    True
    """
    if finding.family != "poisoning" or finding.status != "confirmed" or finding.confidence < minimum_confidence:
        return None
    if last_known_good is None or finding.version != serving or serving == last_known_good:
        return None
    reason = f"{finding.family} in version {serving} (confidence {finding.confidence:.3f}), incident {finding.incident}"
    key = f"{finding.incident}/rollback/{serving}/{last_known_good}"
    return Plan("rollback", finding.incident, finding.model, serving, last_known_good, key, reason)
