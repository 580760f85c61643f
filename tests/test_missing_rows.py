"""A rejected candidate whose training lacks held rows: it stays rejected, and the rows are named."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.schema import Feature, Schema
from rollback.gates.check import Check, at_most
from rollback.gates.gate import Judgement
from rollback.retraining.evidence import Change
from rollback.retraining.missing_rows import missing_rows
from rollback.retraining.vetting import Question, Settled
from rollback.sanitise.rows import Rows, Sanitised, Slice

SCHEMA = Schema((Feature("a"),), ("attack", "benign"))
ROWS, HELD = 20, 12
X = (np.arange(ROWS) < HELD).astype(np.float64)[:, None]
NEW = Rows(SCHEMA, X, np.ones(ROWS, np.int64), np.full(ROWS, "s"), np.arange(ROWS).astype(np.str_))
SLICE = Slice("benign", None, {"a": 1.0}, 9.0, HELD, 0.0, held=True)
BLANK = np.full(ROWS, "")
FOUND = Sanitised(NEW.x[:, 0] == 1, BLANK, BLANK, np.zeros(ROWS), np.ones(ROWS), (SLICE,), {}, ())


def said(*failed: str, holding: tuple[str, ...] = ()) -> Judgement:
    checks: list[Check] = [at_most(name, 0.06, 0.02, None) for name in failed]
    checks += [at_most(name, 1.0, 0.0, None, failing="holds") for name in holding]
    return Judgement((*checks, at_most("sane_scores", 0.0, 0.0, None)), (), (), 0.02)


def told(judgement: Judgement, *, gain: float = 0.05, waits: bool = True) -> list[str]:
    open_ones = (Question(SLICE, (0, 1), holds=True),) if waits else ()
    changes = [Change(100, {}, 0.9, 0.9 + gain)]
    return [*missing_rows(judgement, FOUND, Settled(np.zeros(ROWS, np.bool_), open_ones), NEW, changes)]


def test_what_missing_rows_may_explain_is_named_with_what_was_measured() -> None:
    judgement = said("accuracy_loss", "recall_loss.benign")
    (remark,) = told(judgement)
    assert remark.startswith(f"{HELD} rows of held slices are out: decide about them (tocsin review list) and retrain")
    assert remark.endswith(
        "accuracy_loss, recall_loss.benign may have failed for want of them (a training with one of these slices "
        "changes what is right of the holdout by +5.00 points)"
    )
    assert judgement.result == "rejected"


@pytest.mark.parametrize("gain", [0.0, -0.01, 0.039])
def test_rows_that_do_not_make_up_for_the_loss_do_not_explain_it(gain: float) -> None:
    (remark,) = told(said("accuracy_loss", "recall_loss.benign"), gain=gain)
    assert "does not explain accuracy_loss, recall_loss.benign" in remark


def test_what_no_rows_can_explain_is_named() -> None:
    (remark,) = told(said("accuracy_loss", "recovered_pattern.slice_1"))
    assert "decide about them" in remark
    assert "does not explain recovered_pattern.slice_1 (" in remark


def test_nothing_is_said_where_it_is_held_anyway_or_no_row_waits() -> None:
    assert told(said(holding=("slice_flips",))) == []
    assert told(said("accuracy_loss"), waits=False) == []
