"""Requests about rows of a training buffer: a budget of their own, answered by row id."""

from __future__ import annotations

from detectors.evidence import Ask
from monitor.row_vetting import RowDesk


def admit(desk: RowDesk, version: str, names: str, window: int, looks: str = "alike") -> list[str]:
    asks = [Ask(name, "why", of_buffer=True) for name in names]
    return [a.id for a in desk.admit("m", version, asks, window, 9.0, dict.fromkeys(names, looks))]


def test_a_version_has_one_budget_and_each_row_is_asked_about_once() -> None:
    desk = RowDesk({"m": 3})
    assert admit(desk, "2", "aba", 0) == ["a", "b"]
    assert admit(desk, "2", "bcd", 1) == ["c"]
    assert admit(desk, "3", "a", 1) == ["a"]


def test_answers_are_recognised_once_more_and_late() -> None:
    desk = RowDesk({"m": 3, "n": 3})
    admit(desk, "2", "ab", 0)
    assert desk.answered("n", [("a", "ham")]) == {}
    assert desk.answered("m", [("a", "ham"), ("x", "ham")]) == {"a": "2"}
    assert desk.versions() == [("m", "2", "b")]
    assert desk.expire(10.0) == {"m": 1}
    assert desk.versions() == []
    assert desk.answered("m", [("a", "ham"), ("b", "ham")]) == {"a": "2", "b": "2"}


def test_requests_are_due_after_a_delay() -> None:
    desk = RowDesk({"m": 3})
    admit(desk, "2", "a", 4)
    assert desk.due("m", "2", 4, 1) == []
    assert desk.due("m", "2", 5, 1) == ["a"]
    assert desk.due("m", "3", 5, 1) == []


def test_state_taken_back_holds_requests_and_budgets() -> None:
    desk, again = RowDesk({"m": 2}), RowDesk({"m": 2})
    admit(desk, "2", "a", 4)
    again.restore(desk.state())
    assert again.versions() == [("m", "2", "a")]
    assert admit(again, "2", "abc", 5) == ["b"]


def test_what_was_answered_about_a_row_holds_for_the_same_row_of_another_version() -> None:
    desk, again = RowDesk({"m": 3}), RowDesk({"m": 3})
    admit(desk, "2", "ab", 0)
    desk.answered("m", [("a", "ham")])
    again.restore(desk.state())
    for each in (desk, again):
        assert each.known("m", {"a": "alike", "b": "alike", "c": "alike"}) == {"a": "ham"}
        assert each.known("n", {"a": "alike"}) == {}


def test_a_row_that_looks_otherwise_is_another_one_whatever_its_id() -> None:
    desk = RowDesk({"m": 3})
    admit(desk, "2", "a", 0)
    desk.answered("m", [("a", "ham")])
    assert desk.known("m", {"a": "different"}) == {}
    assert admit(desk, "3", "a", 1, looks="different") == ["a"]
    assert desk.known("m", {"a": "alike"}) == {}


def test_a_row_about_which_origins_contradict_each_other_is_not_known() -> None:
    desk = RowDesk({"m": 3})
    admit(desk, "2", "a", 0)
    desk.answered("m", [("a", "ham"), ("a", "spam"), ("a", "ham")])
    assert desk.known("m", {"a": "alike"}) == {}


def test_a_row_waits_while_another_of_its_id_is_asked_about() -> None:
    desk = RowDesk({"m": 4})
    ask = Ask("r1", "why", of_buffer=True)
    assert desk.admit("m", "2", [ask], 0, 9.0, {"r1": "one"}) == [ask]
    assert desk.admit("m", "3", [ask], 0, 9.0, {"r1": "other"}) == []
    desk.answered("m", [("r1", "benign")])
    assert desk.known("m", {"r1": "other"}) == {}
    assert desk.admit("m", "3", [ask], 1, 9.0, {"r1": "other"}) == [ask]
