"""Carries a plan out: intent into the audit log, one compare-and-set act, outcome into the audit log."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final, Literal

from rollback.audit import AuditLog
from rollback.bundle import IntegrityError
from rollback.policy import Mode, Plan
from rollback.registry.registry import Registry, RegistryError

ACTOR: Final = "tocsin"
"""Who moved the pointer, in the registry's history."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan, and why where it did not succeed."""

    plan: Plan
    result: Literal["done", "proposed", "refused"]
    detail: str = ""


def carry_out(plan: Plan, mode: Mode, registry: Registry, audit: AuditLog) -> Outcome:
    """Roll back in mode ``act``, only propose it otherwise. A target that fails verification is never served."""
    audit.append("intent", {"mode": mode, "plan": asdict(plan)})
    outcome = _act(plan, mode, registry)
    audit.append("outcome", {"key": plan.key, "result": outcome.result, "detail": outcome.detail})
    return outcome


def _act(plan: Plan, mode: Mode, registry: Registry) -> Outcome:
    if mode != "act":
        return Outcome(plan, "proposed", f"mode is {mode}: tocsin registry rollback would do it")
    try:
        registry.promote(plan.target, expected=plan.expected, known_good=False, by=ACTOR, reason=plan.reason)
    except (RegistryError, IntegrityError) as error:
        return Outcome(plan, "refused", str(error))
    return Outcome(plan, "done")
