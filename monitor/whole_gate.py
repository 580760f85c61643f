"""The whole release gate: what the training buffer and the version's own answers say, and what a trial adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detectors.evidence import Ask
from monitor.release_gate import Release
from rollback.gates.check import Check, Figure, Skipped
from rollback.gates.gate import Judgement, judge
from rollback.gates.requirement import requirement_classes
from rollback.gates.trial import GateSettings
from rollback.retraining.foreign import OnTrial
from rollback.retraining.out import Result

HARM = "_harm."


@dataclass(frozen=True, slots=True)
class Whole:
    """All that the gate says of a candidate. ``asks`` are rows that a person has to label first."""

    result: Result
    checks: tuple[Check, ...]
    figures: tuple[Figure, ...]
    skipped: tuple[Skipped, ...]
    remarks: tuple[str, ...]
    asks: tuple[Ask, ...]
    findings: tuple[Any, ...]
    error_budget: float | None


def without_trial(release: Release, why: str, give: str) -> Whole:
    """What can be said where nothing could be trained to compare with."""
    skipped = tuple(Skipped(name, why, give) for name in requirement_classes())
    remarks = (*release.remarks, f"most of the gate did not run: {why}")
    return Whole(release.result, release.checks, (), skipped, remarks, release.asks, release.findings, None)


def with_trial(release: Release, trial: OnTrial, seed: int) -> Whole:
    """Both together. Raises `rollback.gates.trial.GateError`.

    The harm by class on trusted rows, whose noise is not known, is shown only: `recall_loss` decides in its place.
    Where the buffer's own detector asks about rows, its questions come first and alone. One error budget is for all:
    the trial's checks share what those of the release leave of it.
    """
    whole = GateSettings().error_budget
    said = judge(trial.trial, seed=seed, settings=GateSettings(error_budget=whole - release.error_rate))
    shown = [c for c in release.checks if HARM in c.name and not c.name.startswith("reproduced")]
    decide = [c for c in release.checks if c not in shown]
    asks = release.asks or tuple(Ask(ident, why) for ident, why in trial.asks)
    return Whole(
        result=_worst(_result(decide, held=bool(release.asks)), said),
        checks=(*decide, *said.checks),
        figures=(*(_figure(c) for c in shown), *said.figures),
        skipped=said.skipped,
        remarks=(*release.remarks, *trial.remarks),
        asks=asks,
        findings=release.findings,
        error_budget=round(said.error_budget + release.error_rate, 12),
    )


def _result(checks: Sequence[Check], *, held: bool) -> Result:
    if not all(check.passed for check in checks):
        return "rejected"
    return "vetting" if held else "passed"


def _worst(one: Result, said: Judgement) -> Result:
    order: tuple[Result, ...] = ("passed", "vetting", "rejected")
    return max(one, said.result, key=order.index)


def _figure(check: Check) -> Figure:
    why = f"harm to this class in standard deviations; above {check.limit:g} is much. recall_loss decides in its place"
    return Figure(check.name, check.value, why)
