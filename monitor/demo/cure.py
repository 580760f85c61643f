"""The second half of the demonstration: the old version serves, a new one is trained on sanitised data and promoted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from detectors.batch import Strings
from monitor.demo.stage import Stage, StageError
from rollback.response.cases import WORKING, Case
from rollback.response.desk import Answer
from rollback.tables.table import read_table

Say = Callable[[str], None]
Approve = Callable[[str], bool]
"""Asks whether a case (named by its key) is approved; False leaves that to `tocsin response`."""

NO_DOUBT: Final = "it waits for approval"
WAITING: Final = frozenset({"approval"}) | WORKING


def cure(stage: Stage, poisoned: str, planted: Strings, approve: Approve, say: Say) -> dict[str, Any]:
    """From the rollback to the promotion; ``planted`` are the ids of the rows that the attacker put in the data."""
    rollback = stage.case("rollback")
    if rollback is None:
        say("\n6. Tocsin has not rolled back: nothing follows.")
        return {"promoted": False}
    say(f"\n6. The way back to version {rollback.target}, from the audit log:")
    _steps(stage, rollback, say)
    retraining = stage.case("retraining")
    if retraining is None:
        return {"promoted": False, "rollback": rollback.phase}
    say(f"\n7. Version {poisoned} is retrained on sanitised data, in a process of its own.")
    stage.until(lambda: _now(stage, "retraining").phase not in WORKING)
    retraining = _now(stage, "retraining")
    figures = {"rollback": rollback.phase, "retraining": retraining.phase, "candidate": retraining.target or None}
    if retraining.phase != "made":
        say(f"   It ends: {retraining.phase}. {retraining.detail}")
        return figures | {"promoted": False}
    figures |= _sanitised(stage, poisoned, planted, say)
    return figures | {"promoted": _promoted(stage, approve, say)}


def _now(stage: Stage, kind: str) -> Case:
    case = stage.case(kind)
    if case is None:
        raise StageError(f"the {kind} has no case")
    return case


def _steps(stage: Stage, case: Case, say: Say) -> None:
    """Each step of a case that came to an end, and what came of it."""
    for step, detail in stage.steps(case.key):
        say(f"   {step:<9}{detail or 'done'}")


def _sanitised(stage: Stage, version: str, planted: Strings, say: Say) -> dict[str, Any]:
    folder = _folder(stage)
    removed = read_table(folder / "removed.parquet", text=["id", "screen"])
    buffer = stage.registry.buffer(version)
    if buffer is None:
        raise StageError(f"version {version} has no training buffer")
    rows = read_table(buffer.path, text=["id"])
    poison = np.isin(rows.strings("id"), planted)
    caught = int(np.isin(rows.strings("id")[poison], removed.strings("id")).sum())
    gate = json.loads((folder / "gate.json").read_text())
    screens, counts = np.unique(removed.strings("screen"), return_counts=True)
    by_screen = ", ".join(f"{n} by {name}" for name, n in zip(screens.tolist(), counts.tolist(), strict=True))
    say(f"   Of {len(rows):,} rows {len(removed):,} are removed: {by_screen}.")
    stay = int(poison.sum()) - caught
    say(f"   Of the attacker's {caught + stay} rows among them, {caught} are removed and {stay} stay.")
    for check in gate["checks"]:
        verdict = "passed" if check["passed"] else "FAILED"
        say(f"   gate: {check['name']:<34}{verdict:<8}{check['value']:.4f} (limit {check['limit']:.4f})")
    return {"removed": len(removed), "poison": int(poison.sum()), "caught": caught, "gate": gate["passed"]}


def _folder(stage: Stage) -> Path:
    done = sorted((stage.state / "retraining").glob("*/gate.json"))
    if not done:
        raise StageError("the retraining has left no gate.json")
    return done[-1].parent


def _promoted(stage: Stage, approve: Approve, say: Say) -> bool:
    promotion = _now(stage, "promotion")
    say(f"\n8. Version {promotion.target} has passed the gate. It does not serve before somebody approves it:")
    if promotion.detail != NO_DOUBT:
        say(f"   {promotion.detail}")
    say(f"   tocsin response approve --config {stage.config} {promotion.key}")
    if approve(promotion.key):
        stage.answers(Answer(promotion.key, "approve", "demo"))
    stage.until(lambda: _now(stage, "promotion").phase not in WAITING)
    promotion = _now(stage, "promotion")
    _steps(stage, promotion, say)
    return promotion.phase == "done"
