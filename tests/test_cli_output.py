"""Results as text or JSON, and progress that only a terminal sees."""

from __future__ import annotations

import io
import itertools
import json
import threading
from typing import Any

import pytest

from monitor.cli.output import Busy, Progress, show


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def printed(result: Any, *, as_json: bool = False, text: str | None = None) -> str:
    out = io.StringIO()
    show(result, as_json=as_json, text=text, stream=out)
    return out.getvalue()


def test_json_holds_the_whole_result_whatever_the_text_says() -> None:
    result = {"version": "2", "accuracy": 0.1 + 0.2}
    assert json.loads(printed(result, as_json=True, text="short")) == result


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"name": "nids", "lkg": None}, "name  nids\nlkg   -\n"),
        ([{"v": "1", "ok": False}, {"v": "12", "ok": True}], "v   ok\n1   no\n12  yes\n"),
        (["a", "b"], "a\nb\n"),
        ([], "\n"),
        ({"classes": ["x", "y"], "f1": 0.123456789}, "classes  x, y\nf1       0.123457\n"),
    ],
)
def test_text_is_aligned_for_people(result: Any, text: str) -> None:
    assert printed(result) == text


def test_progress_is_silent_for_what_is_quick() -> None:
    out, clock = Terminal(), Clock()
    with Progress("training", 10, stream=out, clock=clock) as progress:
        clock.now += 1.9
        progress.update(5)
    assert out.getvalue() == ""


def test_progress_is_silent_without_a_terminal() -> None:
    out, clock = io.StringIO(), Clock()
    with Progress("training", 10, stream=out, clock=clock) as progress:
        clock.now += 60
        progress.update(5)
    assert out.getvalue() == ""


def test_progress_says_share_rate_and_what_is_left_and_clears_its_line() -> None:
    out, clock = Terminal(), Clock()
    with Progress("replay", 100, stream=out, clock=clock) as progress:
        clock.now += 5
        progress.update(50, "window 3")
        shown = out.getvalue()
    assert shown == "\rreplay 50% (10/s, 5 s left) window 3"
    assert out.getvalue() == shown + "\r" + " " * (len(shown) - 1) + "\r"


def test_progress_is_not_redrawn_more_often_than_an_eye_can_see() -> None:
    out, clock = Terminal(), Clock()
    with Progress("reading", stream=out, clock=clock) as progress:
        clock.now += 5
        for done in range(100):
            progress.update(done)
        assert out.getvalue().count("\r") == 1


def test_a_step_that_cannot_be_counted_says_how_long_it_takes() -> None:
    class Terminal(io.StringIO):
        drawn = threading.Event()

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            self.drawn.set()
            return super().write(text)

    terminal = Terminal()
    times = itertools.count(0.0, 5.0)
    with Busy("reading flows.csv", stream=terminal, clock=lambda: next(times)):
        assert terminal.drawn.wait(60.0)
    assert terminal.getvalue().startswith("\rreading flows.csv (5 s)")
    assert terminal.getvalue().endswith(" \r")
    with Busy("reading flows.csv", stream=io.StringIO()) as quiet:
        assert isinstance(quiet, Busy)


def test_long_nested_results_have_lines_of_their_own() -> None:
    out = io.StringIO()
    show({"version": "1", "files": {"a": "x" * 60, "b": "y" * 60}}, as_json=False, stream=out)
    assert out.getvalue() == f"version  1\nfiles\n  a  {'x' * 60}\n  b  {'y' * 60}\n"
