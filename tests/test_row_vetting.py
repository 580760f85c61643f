"""Requests about rows of a training buffer: a budget of their own, answered by row id."""

from __future__ import annotations

from detectors.evidence import Ask
from monitor.row_vetting import RowDesk


def asks(*names: str) -> list[Ask]:
    return [Ask(name, "why", of_buffer=True) for name in names]


def test_a_version_has_one_budget_and_each_row_is_asked_about_once() -> None:
    desk = RowDesk({"m": 3})
    assert [a.id for a in desk.admit("m", "2", asks("a", "b", "a"), 0, 9.0)] == ["a", "b"]
    assert [a.id for a in desk.admit("m", "2", asks("b", "c", "d"), 1, 9.0)] == ["c"]
    assert [a.id for a in desk.admit("m", "3", asks("a"), 1, 9.0)] == ["a"]


def test_answers_are_recognised_once_more_and_late() -> None:
    desk = RowDesk({"m": 3, "n": 3})
    desk.admit("m", "2", asks("a", "b"), 0, 9.0)
    assert desk.answered("n", ["a"]) == {}
    assert desk.answered("m", ["a", "x"]) == {"a": "2"}
    assert desk.versions() == [("m", "2", "b")]
    assert desk.expire(10.0) == {"m": 1}
    assert desk.versions() == []
    assert desk.answered("m", ["a", "b"]) == {"a": "2", "b": "2"}


def test_requests_are_due_after_a_delay() -> None:
    desk = RowDesk({"m": 3})
    desk.admit("m", "2", asks("a"), 4, 9.0)
    assert desk.due("m", "2", 4, 1) == []
    assert desk.due("m", "2", 5, 1) == ["a"]
    assert desk.due("m", "3", 5, 1) == []


def test_state_taken_back_holds_requests_and_budgets() -> None:
    desk, again = RowDesk({"m": 2}), RowDesk({"m": 2})
    desk.admit("m", "2", asks("a"), 4, 9.0)
    again.restore(desk.state())
    assert again.versions() == [("m", "2", "a")]
    assert [a.id for a in again.admit("m", "2", asks("a", "b", "c"), 5, 9.0)] == ["b"]
