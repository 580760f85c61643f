"""What labellers' answers settle, and that nothing which is held vanishes without a word."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from detectors.schema import Feature, Schema
from rollback.retraining.about import About
from rollback.retraining.decisions import Decided, Ruled, overrule, rule
from rollback.retraining.vetting import ALONE, MOST_SLICES, Answered, Settled, requests, settle, withdraw
from rollback.sanitise.rows import Rows, Sanitised, Slice, Suspects
from rollback.sanitise.slice_judge import family_remark

SCHEMA = Schema((Feature("a"), Feature("b")), ("attack", "benign"))
ATTACK, BENIGN = 0, 1
EACH = 40


def rows(a: list[float], y: int, ids: list[str] | None = None) -> Rows:
    n = len(a)
    x = np.column_stack([np.array(a), np.arange(n)])
    session = np.arange(n).astype(np.str_)
    return Rows(SCHEMA, x, np.full(n, y), np.full(n, "s"), session, id=None if ids is None else np.array(ids, np.str_))


def found_in(new: Rows, slices: int, label: str) -> Sanitised:
    """All rows were removed, as so many slices by the value of a; no swap: they may be honest."""
    blank = np.full(len(new), "")
    pieces = tuple(Slice(label, None, {"a": float(i)}, 9.0, EACH, 0.0, held=True) for i in range(slices))
    removed = np.ones(len(new), np.bool_)
    return Sanitised(removed, blank, blank, np.zeros(len(new)), np.zeros(len(new)), pieces, {}, ())


def settled(label: int, slices: int, answered: Rows, given: int | None = None) -> Settled:
    """``answered`` rows came with the label of the slices, unless ``given`` says another one."""
    new = rows([float(i) for i in range(slices) for _ in range(EACH)], label)
    answers = Answered(answered, np.full(len(answered), label if given is None else given))
    found = found_in(new, slices, SCHEMA.classes[label])
    return settle(found, new, answers, np.random.default_rng(0), benign="benign")


NONE = rows([], BENIGN, [])


def unknown(n: int) -> About:
    blank = np.full(n, "")
    return About(blank, blank, blank, blank, blank, np.full(n, np.nan), np.zeros(n, np.bool_))


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


def numbered(y: list[int]) -> Rows:
    """Answered rows of the first slice, that are in truth of these classes."""
    told = rows([0.0] * len(y), BENIGN, [str(i) for i in range(len(y))])
    return replace(told, y=np.array(y))


def test_a_benign_slice_that_answers_confirm_holds_the_candidate_until_a_review_and_that_is_said() -> None:
    done = settled(BENIGN, 1, rows([0.0] * 16, BENIGN, [str(i) for i in range(16)]))
    assert not done.returned.any()
    (question,) = done.open
    assert (question.rows, question.holds, done.holds) == ((), True, True)
    (remark,) = done.remarks
    assert f"its other {EACH} rows stay out until a person accepts them" in remark


def test_a_confirmed_benign_row_returns_unless_it_waits_with_a_slice_or_a_person_has_decided() -> None:
    new = rows([0.0] * EACH + [7.0, 7.0, 7.0], BENIGN)
    found = found_in(new, 1, "benign")
    vouched, decided = (np.isin(np.arange(len(new)), some) for some in ([0, EACH, EACH + 1], [EACH + 1]))
    answers = Answered(new.take(vouched), new.y[vouched])
    done = settle(found, new, answers, np.random.default_rng(0), benign="benign", decided=decided, vouched=vouched)
    assert np.flatnonzero(done.returned).tolist() == [EACH]
    (question,) = done.open
    assert len(question.rows) == 15
    assert 0 not in question.rows


def test_a_slice_that_answers_contradict_is_settled() -> None:
    lies = rows([0.0] * 16, ATTACK, [str(i) for i in range(16)])
    done = settled(BENIGN, 1, lies)
    assert (done.open, done.confirmed, done.remarks) == ((), (), ())


@pytest.mark.parametrize(("right", "waits"), [(15, True), (8, True), (7, False), (1, False)])
def test_of_a_benign_slice_that_answers_confirm_in_part_a_person_decides(right: int, *, waits: bool) -> None:
    done = settled(BENIGN, 1, numbered([BENIGN] * right + [ATTACK] * (16 - right)))
    assert [(question.rows, question.holds) for question in done.open] == [((), waits)]
    assert f"{right} of 16 answers confirm that rows of a slice are benign" in done.remarks[0]
    assert not done.returned.any()


def test_an_attack_slice_with_a_false_label_stays_out_and_is_listed_for_review() -> None:
    done = settled(ATTACK, 1, numbered([ATTACK] * 15 + [BENIGN]))
    assert not done.returned.any()
    assert [(question.rows, question.holds) for question in done.open] == [((), False)]


def test_answers_about_rows_that_came_with_another_label_say_nothing_about_a_slice() -> None:
    contradicting = rows([0.0] * 16, BENIGN, [str(i) for i in range(16)])
    done = settled(ATTACK, 1, contradicting, given=BENIGN)
    assert [len(question.rows) for question in done.open] == [16]


@pytest.mark.parametrize("size", [1, 5, 19])
def test_a_benign_slice_of_few_rows_holds_the_candidate_too(size: int) -> None:
    new = rows([0.0] * size, BENIGN)
    found = replace(found_in(new, 1, "benign"), slices=(Slice("benign", None, {"a": 0.0}, 9.0, size, 0.1),))
    done = settle(found, new, Answered(NONE, NONE.y), np.random.default_rng(0), benign="benign")
    assert [(len(question.rows), question.holds) for question in done.open] == [(min(size, 16), True)]


def test_the_benign_class_is_the_one_that_was_named_also_where_attacks_are_more() -> None:
    new = rows([0.0] * EACH, ATTACK)
    found, answers = found_in(new, 1, "attack"), numbered([ATTACK] * 16)
    told = Answered(answers, np.full(16, ATTACK))
    for benign, returns in (("benign", True), ("attack", False)):
        done = settle(found, new, told, np.random.default_rng(0), benign=benign)
        assert (bool(done.returned.all()), done.holds) == (returns, not returns)


def kept_slice(label: str) -> tuple[Rows, Sanitised]:
    """Too many rows to be taken out; the first five went one by one."""
    new = rows([0.0] * EACH, SCHEMA.classes.index(label))
    found = found_in(new, 1, label)
    few = np.arange(EACH) < 5
    return new, replace(found, removed=few, slices=(replace(found.slices[0], kept=True),))


@pytest.mark.parametrize("label", SCHEMA.classes)
def test_a_slice_that_is_too_large_to_take_out_holds_the_candidate_until_it_is_answered(label: str) -> None:
    new, found = kept_slice(label)
    (question,) = settle(found, new, Answered(NONE, NONE.y), np.random.default_rng(0), benign="benign").open
    assert (len(question.rows), question.holds) == (16, True)


def test_of_such_a_slice_the_rows_that_went_return_when_it_is_a_confirmed_attack() -> None:
    new, found = kept_slice("attack")
    right, wrong = numbered([ATTACK] * 16), numbered([BENIGN] * 16)
    given = np.full(16, ATTACK)
    done = settle(found, new, Answered(right, given), np.random.default_rng(0), benign="benign")
    assert (np.flatnonzero(done.returned).tolist(), done.holds) == ([0, 1, 2, 3, 4], False)
    done = settle(found, new, Answered(wrong, given), np.random.default_rng(0), benign="benign")
    assert (done.returned.any(), done.holds) == (False, False)
    assert withdraw(
        found, done.withdrawn
    ).removed.all()  # most answers deny it: too many honest rows is no reason any more


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


def test_a_slice_of_another_class_whose_values_bring_its_label_is_open_to_a_review_and_never_returns_by_answers() -> (
    None
):
    def done(label: int, answered: Rows, y: int = ATTACK) -> Settled:
        new = rows([0.0] * EACH, label)
        found = found_in(new, 1, SCHEMA.classes[label])
        clear = replace(found, slices=tuple(replace(piece, swap=1.0, held=False) for piece in found.slices))
        told = Answered(replace(answered, y=np.full(len(answered), y)), np.full(len(answered), label))
        return settle(clear, new, told, np.random.default_rng(0), benign="benign")

    sixteen = rows([0.0] * 16, ATTACK, [str(i) for i in range(16)])
    for answered in (NONE, sixteen):
        found = done(ATTACK, answered)
        assert ([q.rows for q in found.open], found.holds, found.returned.any()) == ([()], False, False)
        (remark,) = found.remarks
        assert remark.startswith(f"{EACH} rows stay out until a person accepts them")
    assert done(ATTACK, sixteen, BENIGN).open == ()
    assert done(BENIGN, NONE).open == ()


def test_nothing_asks_any_more_about_a_slice_that_a_person_has_decided_about() -> None:
    new = rows([0.0] * EACH, BENIGN)
    found = found_in(new, 1, "benign")
    found = replace(found, remarks=("drawn", family_remark(found.slices[0])))
    yes, no = np.ones(EACH, np.bool_), np.zeros(EACH, np.bool_)
    for ruled in (Ruled(yes, no), Ruled(no, yes)):
        assert overrule(found, ruled, new).remarks == ("drawn",)
    assert overrule(found, Ruled(no, np.arange(EACH) > 0), new).remarks == found.remarks


def test_of_rows_that_went_one_by_one_some_are_asked_about_and_nothing_waits_for_them() -> None:
    new = rows([0.0] * EACH + [7.0] * EACH, ATTACK)
    found = replace(found_in(new, 1, "attack"), removed=np.arange(len(new)) != len(new) - 1)
    done = settle(found, new, Answered(NONE, NONE.y), np.random.default_rng(0), benign="benign")
    assert len(done.alone) == ALONE
    assert set(done.alone) <= set(range(EACH, len(new) - 1))  # neither of the slice, nor one that stayed
    assert not done.holds
    lines = requests(done, new, unknown(len(new)))
    assert [line["optional"] for line in lines] == [False] * 16 + [True] * ALONE


def test_answers_about_such_rows_count_and_those_about_slices_do_not() -> None:
    new = rows([0.0] * EACH + [7.0] * EACH, ATTACK)
    found = found_in(new, 1, "attack")
    told = rows([0.0] * 16 + [7.0] * 5, ATTACK, [str(i) for i in range(21)])
    done = settle(found, new, Answered(told, told.y), np.random.default_rng(0), benign="benign")
    assert len(done.alone) == ALONE - 5


def test_nothing_is_asked_alone_that_is_answered_or_decided() -> None:
    new = rows([7.0] * 4, BENIGN)
    found = found_in(new, 0, "benign")
    vouched, decided = np.arange(4) == 0, np.arange(4) == 1
    answers = Answered(NONE, NONE.y)
    done = settle(found, new, answers, np.random.default_rng(0), benign="benign", vouched=vouched, decided=decided)
    assert done.alone == (2, 3)


@pytest.mark.parametrize(("false", "suspects", "taken"), [(8, 30, 30), (8, 3, 0), (4, 30, 0), (7, 30, 0)])
def test_suspects_go_where_answers_call_most_rows_like_them_false_and_they_are_more_than_of_clean_rows(
    false: int, suspects: int, taken: int
) -> None:
    new = rows([7.0] * 200, BENIGN)
    number = np.arange(200)
    found = replace(found_in(new, 0, "benign"), removed=number < 20)
    found = replace(found, suspects=Suspects((number >= 20) & (number < 20 + suspects), 0.0375))
    told = rows([7.0] * 15, BENIGN, [str(i) for i in range(15)])
    given, told = told.y, replace(told, y=np.where(np.arange(15) < false, ATTACK, BENIGN))
    done = settle(found, new, Answered(told, given), np.random.default_rng(0), benign="benign")
    after = withdraw(found, done.withdrawn)
    assert np.count_nonzero(after.removed & (number >= 20)) == taken
    assert np.all(after.screen[after.removed & (number >= 20)] == "answers")
    assert [*done.remarks] == [
        f"{taken} more rows are left out, because answers say that most rows like them are false"
    ] * (taken > 0)


def test_what_a_person_has_accepted_or_a_labeller_confirmed_does_not_go_because_of_answers_about_others() -> None:
    new = rows([7.0] * 100, BENIGN)
    number = np.arange(100)
    found = replace(found_in(new, 0, "benign"), removed=number < 10, suspects=Suspects(number >= 10, 0.0375))
    told = rows([7.0] * 6, BENIGN, [str(i) for i in range(6)])
    answers = Answered(replace(told, y=np.full(6, ATTACK)), told.y)
    vouched, decided = number == 50, number == 60
    done = settle(found, new, answers, np.random.default_rng(0), benign="benign", vouched=vouched, decided=decided)
    assert np.flatnonzero(~withdraw(found, done.withdrawn).removed).tolist() == [50, 60]
