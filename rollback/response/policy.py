"""What to do about a verdict: pure functions, so that every decision can be replayed and argued about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from rollback.registry.registry import Pointers
from rollback.response.cases import Case

Mode = Literal["observe", "propose", "act"]
Release = Literal["approval", "automatic"]

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What the policy needs of an incident; ``message`` is the incident as it was published (JSON)."""

    incident: str
    model: str
    version: str
    family: str
    status: str
    confidence: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """When a rollback needs nobody's approval, and what follows it.

    ``minimum_confidence`` of the verdict's family: .95 are odds of 19 to 1 after the vetted answers. A rollback within
    ``cooldown_seconds`` of the last one of the same model, or beyond ``rollbacks_per_day``, waits for approval: whoever
    can make Tocsin roll back at will can keep a model from being updated. ``retrain``: a poisoned version is retrained
    on sanitised data; ``release`` says whether a candidate that passed the gate still waits for approval.
    """

    minimum_confidence: float = 0.95
    cooldown_seconds: float = 3600.0
    rollbacks_per_day: int = 3
    retrain: bool = True
    release: Release = "approval"

    def __post_init__(self) -> None:
        if not 0.5 <= self.minimum_confidence <= 1.0:  # noqa: PLR2004 - less likely than not is no finding
            raise ValueError(f"minimum_confidence must be between 0.5 and 1, not {self.minimum_confidence}")
        if self.cooldown_seconds < 0 or self.rollbacks_per_day < 0:
            raise ValueError("cooldown_seconds and rollbacks_per_day must not be negative")


def decide(
    finding: Finding, pointers: Pointers, cases: Mapping[str, Case], mode: Mode, settings: PolicySettings, now: float
) -> Case | None:
    """A rollback where a confirmed poisoning is in the version that serves; None otherwise. Drift never rolls back.

    >>> poisoned = Finding("i1", "nids", "2", "poisoning", "confirmed", 0.99)
    >>> decide(poisoned, Pointers("2", "1"), {}, "act", PolicySettings(), now=0.0).target
    '1'
    >>> decide(poisoned, Pointers("2", "1"), {}, "propose", PolicySettings(), now=0.0).phase
    'approval'
    >>> decide(poisoned, Pointers("1", "1"), {}, "act", PolicySettings(), now=0.0) is None
    True
    """
    good = pointers.last_known_good
    if mode == "observe" or finding.family != "poisoning" or finding.status != "confirmed":
        return None
    if finding.confidence < settings.minimum_confidence:
        return None
    if good is None or finding.version != pointers.serving or pointers.serving == good:
        return None
    same = [c for c in cases.values() if (c.model, c.kind, c.expected) == (finding.model, "rollback", finding.version)]
    if any(c.phase not in {"done", "served", "declined"} for c in same):
        return None  # it is being done, or waits for a person
    own = [c for c in same if c.incident == finding.incident and c.target == good]
    if any(c.phase == "declined" for c in own):
        return None
    key = "/".join([finding.incident, "rollback", finding.version, good, *([str(len(own) + 1)] if own else [])])
    held = _held(finding.model, cases, mode, settings, now)
    if own and not held:
        held = f"somebody made version {finding.version} serve again after the last rollback: it waits for approval"
    reason = (
        f"{finding.family} in version {finding.version} (confidence {finding.confidence:.3f}), "
        f"incident {finding.incident}"
    )
    return Case(
        key,
        "rollback",
        finding.incident,
        finding.model,
        finding.version,
        good,
        reason,
        "approval" if held else "verify",
        since=now,
        due=now,
        detail=held,
        message=finding.message,
    )


def _held(model: str, cases: Mapping[str, Case], mode: Mode, settings: PolicySettings, now: float) -> str:
    """Why a rollback has to wait for approval; empty where it need not."""
    if mode == "propose":
        return "mode is propose: it waits for approval"
    rollbacks = [c for c in cases.values() if (c.model, c.kind) == (model, "rollback")]
    past = [c.since for c in rollbacks if c.phase not in {"approval", "declined"}]
    if sum(now - at < DAY for at in past) >= settings.rollbacks_per_day:
        return f"the budget of {settings.rollbacks_per_day} rollbacks a day is used up: it waits for approval"
    if any(now - at < settings.cooldown_seconds for at in past):
        return f"the last rollback is less than {settings.cooldown_seconds:.0f} s ago: it waits for approval"
    return ""


def follow(case: Case, pointers: Pointers, mode: Mode, settings: PolicySettings, now: float) -> Case | None:
    """What a finished case leads to: a rollback to a retraining, a retraining to the promotion of its candidate."""
    still = case.target == pointers.serving  # else it is history: somebody has moved on since
    if case.kind == "rollback" and case.phase in {"done", "served"} and still and settings.retrain:
        reason = f"version {case.expected} is poisoned, incident {case.incident}"
        key = f"{case.incident}/retraining/{case.expected}"
        return replace(_after(case, key, reason, now), kind="retraining", target="", phase="train")
    if case.phase == "made":
        reason = f"candidate {case.target} passed the gate, incident {case.incident}"
        key = f"{case.incident}/promotion/{case.target}"
        serving = pointers.serving or ""
        after = replace(_after(case, key, reason, now), kind="promotion", expected=serving, phase="verify")
        if case.doubted:
            return replace(after, phase="approval", detail=f"it waits for approval: {case.detail}")
        if pointers.serving is None or pointers.serving != pointers.last_known_good:
            moved = f"version {pointers.serving} was made to serve meanwhile: it waits for approval"
            return replace(after, phase="approval", detail=moved)
        waits = settings.release == "approval" or mode != "act"
        return replace(after, phase="approval", detail="it waits for approval") if waits else after
    return None


def _after(case: Case, key: str, reason: str, now: float) -> Case:
    return replace(case, key=key, reason=reason, since=now, due=now, attempt=0, reopened=0, detail="")
