"""Looks at the responses and at the audit log in the loop's own thread, and keeps their metrics current."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, Protocol

import structlog

from monitor.watching.response_metrics import ResponseMetrics
from monitor.watching.stage_board import StageBoard
from rollback.audit.log import AuditLog, checkpoint_of
from rollback.gates.check import Check
from rollback.response.cases import Case
from rollback.response.work import results_of
from rollback.retraining.out import GATE, Gate, OutFileError, read_json

log = structlog.get_logger()

ENDS: Final = frozenset({"done", "served", "made", "rejected"})
"""Phases in which a response has done what it was to do."""


class Standing(Protocol):
    """What is being done; `rollback.response.responder.Responder` knows."""

    @property
    def cases(self) -> Mapping[str, Case]:
        """Every case by its key."""

    @property
    def holding(self) -> str:
        """Why everything is held; empty where it is not."""


class ResponseBoard:
    """Shows how the cases of ``models`` stand. ``folder`` is where retrainings leave their results.

    A response is timed from its first step that is seen here: after a restart, from the phase that it was in.
    ``clock`` gives seconds since the epoch, as those that retrain see them.
    """

    def __init__(
        self,
        metrics: ResponseMetrics,
        standing: Standing,
        audit: AuditLog,
        folder: Path,
        models: Collection[str],
        clock: Callable[[], float],
    ) -> None:
        self._metrics = metrics
        self._standing = standing
        self._audit = audit
        self._folder = folder
        self._models = models
        self._stages = StageBoard(metrics, folder, clock)
        self._seen: dict[str, Case] = {}
        self._begun: dict[str, float] = {}
        self._records = -1
        for model in models:
            metrics.known(model)

    def look(self) -> None:
        """Take in what has changed since the last time."""
        self._metrics.held(on=bool(self._standing.holding))
        changed = [c for key, c in self._standing.cases.items() if self._seen.get(key) is not c]
        for case in changed:
            if case.model in self._models:
                self._follow(case)
        for model in {case.model for case in changed} & set(self._models):
            of_model = (c for c in self._standing.cases.values() if c.model == model)
            self._metrics.phases(model, Counter((c.kind, c.phase) for c in of_model))
        self._seen.update((case.key, case) for case in changed)
        self._stages.look(case for case in self._standing.cases.values() if case.model in self._models)
        if self._audit.records != self._records:
            self._look_at_audit()

    def _follow(self, case: Case) -> None:
        if case.working:
            self._begun.setdefault(case.key, case.since)
            return
        begun = self._begun.pop(case.key, None)  # while a person is waited for no time is counted
        if case.phase in ENDS:
            if begun is not None:
                self._metrics.took(case.model, case.kind, max(0.0, case.since - begun), case.incident)
            before = self._seen.get(case.key)
            if case.kind == "retraining" and (before is None or before.phase != case.phase):
                self._show_gate(case)

    def _show_gate(self, case: Case) -> None:
        try:
            gate = read_json(self._folder / results_of(case.key) / GATE, Gate)
        except OutFileError as error:
            log.warning("the gate's result is not shown", reason=str(error))
            return
        if gate is not None:
            self._metrics.gate(case.model, by_requirement(gate.checks))

    def _look_at_audit(self) -> None:
        """A log that is gone, though it was just written, has a size of 0: a rule is about one that does not grow."""
        self._records = self._audit.records
        size, written, sealed = 0, 0.0, 0.0
        try:
            found = self._audit.path.stat()
            size, written = found.st_size, found.st_mtime
            checkpoint = checkpoint_of(self._audit.path)
            sealed = checkpoint.stat().st_mtime if checkpoint.exists() else 0.0
        except OSError as error:
            meaning = "what is appended to it may be lost: see docs/runbooks/TocsinAuditNotAdvancing.md"
            log.warning("the audit log is not where it was", reason=str(error), meaning=meaning)
        self._metrics.audit(self._records, self._audit.signed_records, size, written, sealed)


def by_requirement(checks: Collection[Check]) -> dict[str, bool]:
    """Whether all checks of a requirement passed: what a check is about is named after the point, and is not counted.

    >>> by_requirement([Check("recall_loss.attack", True, 0, 1, None), Check("recall_loss.benign", False, 2, 1, None)])
    {'recall_loss': False}
    """
    found: dict[str, bool] = {}
    for check in checks:
        name = check.name.partition(".")[0]
        found[name] = found.get(name, True) and check.passed
    return found
