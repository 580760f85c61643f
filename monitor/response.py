"""The response to findings: decided by the policy, carried out once per incident, remembered by the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from rollback.audit import AuditLog, read_records
from rollback.executor import ACTOR, Outcome, carry_out
from rollback.policy import Finding, Mode, Plan, decide
from rollback.registry.registry import Registry

MINIMUM_CONFIDENCE = 0.95
"""Of the verdict, for a response: odds of 19 to 1 after the vetted answers."""


def no_response(finding: Finding) -> Outcome | None:  # noqa: ARG001 - the response's signature
    """For `replay`: nothing outside its folder is touched."""
    return None


class Response:
    """Calls the policy for each finding.

    What an incident has led to is read from the audit log, so that a crash between act and checkpoint neither repeats
    the act nor loses its outcome. An intent without an outcome is looked up in the registry's history: where the act
    happened its outcome is recorded now, else it is decided anew when the finding comes again.
    """

    def __init__(self, mode: Mode, registries: Mapping[str, Registry], audit: AuditLog, path: Path) -> None:
        self._mode = mode
        self._registries = registries
        self._audit = audit
        plans, self._outcomes = past_plans(path)
        for plan in plans:
            if plan.incident not in self._outcomes and plan.model in registries:
                self._reconcile(plan)

    def __call__(self, finding: Finding) -> Outcome | None:
        """The outcome of this finding's plan, old or new; None where there is nothing to do."""
        if finding.incident in self._outcomes:
            return self._outcomes[finding.incident]
        registry = self._registries[finding.model]
        pointers = registry.pointers()
        plan = decide(finding, pointers.serving, pointers.last_known_good, MINIMUM_CONFIDENCE)
        if plan is None or self._mode == "observe":
            return None
        outcome = carry_out(plan, self._mode, registry, self._audit)
        self._outcomes[finding.incident] = outcome
        return outcome

    def _reconcile(self, plan: Plan) -> None:
        registry = self._registries[plan.model]
        made = any(m.by == ACTOR and m.version == plan.target and m.reason == plan.reason for m in registry.history())
        if made and registry.pointers().serving == plan.target:
            outcome = Outcome(plan, "done", "found done after a restart")
            self._audit.append("outcome", {"key": plan.key, "result": outcome.result, "detail": outcome.detail})
            self._outcomes[plan.incident] = outcome


def past_plans(path: Path) -> tuple[list[Plan], dict[str, Outcome]]:
    """Plans, and outcomes by incident, from the audit log. Raises `rollback.audit.AuditError` where it is broken."""
    plans: dict[str, Plan] = {}
    outcomes = {}
    for record in read_records(path):
        if record.kind == "intent":
            plan = msgspec.convert(record.body["plan"], Plan)
            plans[plan.key] = plan
        elif record.kind == "outcome" and record.body["key"] in plans:
            plan = plans[record.body["key"]]
            outcomes[plan.incident] = Outcome(plan, record.body["result"], record.body["detail"])
    return list(plans.values()), outcomes
