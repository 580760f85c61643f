"""What labellers' answers settle, and that nothing which is held vanishes without a word."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from detectors.schema import Feature, Schema
from rollback.retraining.about import About
from rollback.retraining.decisions import Decided, Ruled, overrule, rule
from rollback.retraining.vetting import MOST_SLICES, Settled, settle
from rollback.sanitise.rows import Rows, Sanitised, Slice

SCHEMA = Schema((Feature("a"), Feature("b")), ("attack", "benign"))
ATTACK, BENIGN = 0, 1
EACH = 40


def rows(a: list[float], y: int, ids: list[str] | None = None) -> Rows:
    n = len(a)
    x = np.column_stack([np.array(a), np.arange(n)])
    session = np.arange(n).astype(np.str_)
    return Rows(SCHEMA, x, np.full(n, y), np.full(n, "s"), session, id=None if ids is None else np.array(ids, np.str_))


BASE = Rows.concat([rows([0.0] * 60, BENIGN), rows([0.0] * 40, ATTACK)])


def found_in(new: Rows, slices: int, label: str) -> Sanitised:
    """All rows were removed, as so many slices by the value of a; no swap: they may be honest."""
    blank = np.full(len(new), "")
    pieces = tuple(Slice(label, None, {"a": float(i)}, 9.0, EACH, 0.0, held=True) for i in range(slices))
    removed = np.ones(len(new), np.bool_)
    return Sanitised(removed, blank, blank, np.zeros(len(new)), np.zeros(len(new)), pieces, {}, ())


def settled(label: int, slices: int, answered: Rows) -> Settled:
    new = rows([float(i) for i in range(slices) for _ in range(EACH)], label)
    return settle(found_in(new, slices, SCHEMA.classes[label]), BASE, new, answered, np.random.default_rng(0))


NONE = rows([], BENIGN, [])


def test_more_slices_than_rows_are_asked_about_all_stay_open() -> None:
    done = settled(BENIGN, MOST_SLICES + 3, NONE)
    assert len(done.open) == MOST_SLICES + 3
    assert sum(bool(question.rows) for question in done.open) == MOST_SLICES
    assert all(question.holds for question in done.open)


def test_one_answer_about_a_row_with_many_copies_does_not_return_a_slice() -> None:
    copies = rows([0.0] * 16, ATTACK, ["same"] * 16)
    assert not settled(ATTACK, 1, copies).returned.any()
    each = rows([0.0] * 16, ATTACK, [str(i) for i in range(16)])
    done = settled(ATTACK, 1, each)
    assert done.returned.all()
    assert [piece.features for piece in done.confirmed] == [{"a": 0.0}]
    assert done.open == ()


def test_a_benign_slice_that_answers_confirm_stays_open_to_a_review_and_that_is_said() -> None:
    done = settled(BENIGN, 1, rows([0.0] * 16, BENIGN, [str(i) for i in range(16)]))
    assert not done.returned.any()
    (question,) = done.open
    assert (question.rows, question.holds) == ((), False)
    (remark,) = done.remarks
    assert f"its other {EACH} rows stay out until a person accepts them" in remark


def test_a_slice_that_answers_contradict_is_settled() -> None:
    lies = rows([0.0] * 16, ATTACK, [str(i) for i in range(16)])
    done = settled(BENIGN, 1, lies)
    assert (done.open, done.confirmed, done.remarks) == ((), (), ())


def test_what_a_person_has_accepted_is_not_held_against_the_candidate() -> None:
    new = rows([0.0] * EACH, BENIGN)
    found = found_in(new, 1, "benign")
    found = replace(found, held_back=found.slices)
    yes, no = np.ones(EACH, np.bool_), np.zeros(EACH, np.bool_)
    assert overrule(found, Ruled(yes, no), new).held_back == ()
    assert overrule(found, Ruled(no, no), new).held_back == found.held_back


def test_decisions_about_the_same_row_do_not_add_up_to_copies() -> None:
    text, blank = np.array(["a", "a"]), np.full(2, "-")
    about = About(text, np.char.add("d", text), blank, blank, blank, np.zeros(2), np.zeros(2, np.bool_))
    accepted = Decided("4/1", "accept", (("a", "da"),), "ada", 0.0, "")
    again = msgspec.structs.replace(accepted, key="5/1")
    assert rule([accepted, again], about).accepted.tolist() == [True, False]
