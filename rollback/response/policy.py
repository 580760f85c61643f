"""What to do about a verdict: pure functions, so that every decision can be replayed and argued about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from rollback.registry.registry import Pointers
from rollback.response.cases import Case
from rollback.response.maintenance import Maintenance, over_at

Mode = Literal["observe", "propose", "act"]
Release = Literal["approval", "automatic"]

DAY: Final = 86_400.0
OVER: Final = frozenset({"done", "served", "declined", "withdrawn"})
"""Phases of a rollback after which a new one of the same version may be decided."""


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

    ``minimum_confidence`` of the verdict's family: .95 are odds of 19 to 1 after the vetted answers. For
    ``probation_seconds`` after a version was made to serve it is the first to be suspected, and
    ``probation_confidence`` is enough; no time makes it last known good. A rollback that nothing was done for yet is
    withdrawn once the same version's poisoning is less likely than ``withdraw_confidence``: between the two, what was
    decided stays decided. A rollback within ``cooldown_seconds`` of the last one of the same model, or beyond
    ``rollbacks_per_day``, waits for approval: whoever can make Tocsin roll back at will can keep a model from being
    updated. ``maintenance``: while such a window is open nothing is begun that nobody approved. ``approvals``: so many
    different people must approve what waits for approval. ``retrain``: a poisoned version is retrained on sanitised
    data; ``release`` says whether a candidate that passed the gate still waits for approval.
    """

    minimum_confidence: float = 0.95
    withdraw_confidence: float = 0.8
    probation_confidence: float = 0.9
    probation_seconds: float = DAY
    cooldown_seconds: float = 3600.0
    rollbacks_per_day: int = 3
    maintenance: tuple[Maintenance, ...] = ()
    approvals: int = 1
    retrain: bool = True
    release: Release = "approval"

    def __post_init__(self) -> None:
        ladder = (0.5, self.withdraw_confidence, self.probation_confidence, self.minimum_confidence, 1.0)
        if list(ladder) != sorted(ladder):  # less likely than not is no finding
            raise ValueError(
                "0.5 <= withdraw_confidence <= probation_confidence <= minimum_confidence <= 1 does not hold: "
                f"{self.withdraw_confidence}, {self.probation_confidence}, {self.minimum_confidence}"
            )
        if min(self.cooldown_seconds, self.rollbacks_per_day, self.probation_seconds) < 0:
            raise ValueError("cooldown_seconds, probation_seconds and rollbacks_per_day must not be negative")
        if self.approvals not in {1, 2}:
            raise ValueError(f"approvals must be 1 or 2, not {self.approvals}")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model stands: its ``pointers``, and when its serving version was made to serve (None: not known)."""

    pointers: Pointers
    serving_since: float | None = None


def decide(
    finding: Finding, standing: Standing, cases: Mapping[str, Case], mode: Mode, settings: PolicySettings, now: float
) -> Case | None:
    """A rollback where a confirmed poisoning is in the version that serves; None otherwise. Drift never rolls back.

    >>> poisoned = Finding("i1", "nids", "2", "poisoning", "confirmed", 0.99)
    >>> serving = Standing(Pointers("2", "1"))
    >>> decide(poisoned, serving, {}, "act", PolicySettings(), now=0.0).target
    '1'
    >>> decide(poisoned, serving, {}, "propose", PolicySettings(), now=0.0).phase
    'approval'
    >>> decide(poisoned, Standing(Pointers("1", "1")), {}, "act", PolicySettings(), now=0.0) is None
    True
    """
    good, serving = standing.pointers.last_known_good, standing.pointers.serving
    if mode == "observe" or finding.family != "poisoning" or finding.status != "confirmed":
        return None
    if finding.confidence < _wanted(standing, settings, now):
        return None
    if good is None or finding.version != serving or serving == good:
        return None
    same = [c for c in cases.values() if (c.model, c.kind, c.expected) == (finding.model, "rollback", finding.version)]
    if any(c.phase not in OVER for c in same):
        return None  # it is being done, or waits for a person
    own = [c for c in same if c.incident == finding.incident and c.target == good]
    if any(c.phase == "declined" for c in own):
        return None
    key = "/".join([finding.incident, "rollback", finding.version, good, *([str(len(own) + 1)] if own else [])])
    held = _held(finding.model, cases, mode, settings, now)
    if not held and any(c.phase in {"done", "served"} for c in same):
        held = f"somebody made version {finding.version} serve again after the last rollback: it waits for approval"
    over = over_at(settings.maintenance, now)
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
        due=now if over is None else over,
        detail=held or postponed(over),
        message=finding.message,
    )


def _wanted(standing: Standing, settings: PolicySettings, now: float) -> float:
    """How sure a finding about the serving version must be."""
    since = standing.serving_since
    on_probation = since is not None and 0.0 <= now - since < settings.probation_seconds
    return settings.probation_confidence if on_probation else settings.minimum_confidence


def withdrawn(finding: Finding, cases: Mapping[str, Case], settings: PolicySettings) -> list[Case]:
    """The rollbacks for which nothing was done yet, and which this finding about the same version speaks against.

    A quiet window speaks against nothing, and neither does an inconclusive one.

    >>> case = Case("k", "rollback", "i1", "nids", "2", "1", "why", "approval", since=0.0)
    >>> [c.key for c in withdrawn(Finding("i1", "nids", "2", "fault", "confirmed", 0.9), {"k": case}, PolicySettings())]
    ['k']
    >>> withdrawn(Finding("i1", "nids", "2", "poisoning", "confirmed", 0.9), {"k": case}, PolicySettings())
    []
    """
    unlikely = finding.family == "poisoning" and finding.confidence < settings.withdraw_confidence
    otherwise = finding.family in {"drift", "fault", "evasion"} and finding.status == "confirmed"
    if not (unlikely or otherwise):
        return []
    about = (finding.incident, finding.model, finding.version)
    return [
        case
        for case in cases.values()
        if (case.incident, case.model, case.expected) == about
        and case.kind == "rollback"
        and case.phase in {"approval", "verify"}
        and not case.approved
    ]


def postponed(over: float | None) -> str:
    """What is said of a case that waits for the end of a maintenance window at ``over``; empty for none."""
    if over is None:
        return ""
    return (
        f"maintenance until {datetime.fromtimestamp(over, UTC).isoformat(timespec='minutes')}: approve it to begin now"
    )


def _held(model: str, cases: Mapping[str, Case], mode: Mode, settings: PolicySettings, now: float) -> str:
    """Why a rollback has to wait for approval; empty where it need not."""
    if mode == "propose":
        return "mode is propose: it waits for approval"
    rollbacks = [c for c in cases.values() if (c.model, c.kind) == (model, "rollback")]
    past = [c.since for c in rollbacks if c.phase not in {"approval", "declined", "withdrawn"}]
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
        if settings.release == "approval" or mode != "act":
            return replace(after, phase="approval", detail="it waits for approval")
        over = over_at(settings.maintenance, now)
        return after if over is None else replace(after, due=over, detail=postponed(over))
    return None


def _after(case: Case, key: str, reason: str, now: float) -> Case:
    return replace(case, key=key, reason=reason, since=now, due=now, attempt=0, reopened=0, detail="")
