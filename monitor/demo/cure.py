"""The second half of the demonstration: the old version serves, a new one is trained on sanitised data and promoted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from detectors.batch import Bools
from monitor.demo.stage import Stage, StageError
from rollback.response.cases import WORKING, Case
from rollback.response.desk import Answer
from rollback.table import read_table

Say = Callable[[str], None]
Approve = Callable[[str], bool]
"""Asks whether a case (named by its key) is approved; False leaves that to `tocsin response`."""

NO_DOUBT: Final = "it waits for approval"
WAITING: Final = frozenset({"approval"}) | WORKING


def cure(stage: Stage, poisoned: str, rows: Bools, approve: Approve, say: Say) -> dict[str, Any]:
    """From the rollback to the promotion; ``rows`` [n] marks the poisoned rows of version ``poisoned``'s buffer."""
    rollback = stage.case("rollback")
    if rollback is None:
        say("\n6. Tocsin has not rolled back: nothing follows.")
        return {"promoted": False}
    say(f"\n6. Rolled back: {rollback.phase}. {rollback.detail}.")
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
    figures |= _sanitised(stage, rows, say)
    return figures | {"promoted": _promoted(stage, approve, say)}


def _now(stage: Stage, kind: str) -> Case:
    case = stage.case(kind)
    if case is None:
        raise StageError(f"the {kind} has no case")
    return case


def _sanitised(stage: Stage, poisoned: Bools, say: Say) -> dict[str, Any]:
    folder = _folder(stage)
    removed = read_table(folder / "removed.parquet", text=["screen"])
    gate = json.loads((folder / "gate.json").read_text())
    screens, counts = np.unique(removed.strings("screen"), return_counts=True)
    by_screen = ", ".join(f"{n} by {name}" for name, n in zip(screens.tolist(), counts.tolist(), strict=True))
    say(f"   {len(removed):,} rows are removed ({by_screen}); {int(poisoned.sum())} were the attacker's.")
    for check in gate["checks"]:
        verdict = "passed" if check["passed"] else "FAILED"
        say(f"   gate: {check['name']:<28}{verdict:<8}{check['value']:.4f} (limit {check['limit']:.4f})")
    return {"removed": len(removed), "poisoned_rows": int(poisoned.sum()), "gate": gate["passed"]}


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
    say(f"   {promotion.phase}: {promotion.detail}")
    return promotion.phase == "done"
