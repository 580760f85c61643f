"""Logs go to one stream, as JSON for machines, with those of libraries among them."""

from __future__ import annotations

import io
import json
import logging
import uuid

import pytest
import structlog

from monitor.logging import set_up_logging


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_a_line_is_one_json_object(stream: io.StringIO) -> None:
    set_up_logging(stream, as_json=True)
    structlog.get_logger().info("a window closed", model="nids", events=3)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["model"], line["events"], line["level"]) == ("a window closed", "nids", 3, "info")
    assert line["timestamp"].endswith("Z")


def test_warnings_of_libraries_look_the_same_and_their_chatter_is_dropped(stream: io.StringIO) -> None:
    set_up_logging(stream, as_json=True)
    logging.getLogger("kafka.client").info("connecting")
    logging.getLogger("kafka.client").warning("connection %s lost", 7)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["logger"], line["level"]) == ("connection 7 lost", "kafka.client", "warning")


def test_an_exception_is_part_of_its_line(stream: io.StringIO) -> None:
    set_up_logging(stream, as_json=True)
    try:
        int("odd")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "ValueError: invalid literal" in json.loads(stream.getvalue())["exception"]


def test_what_is_below_the_level_is_silent(stream: io.StringIO) -> None:
    set_up_logging(stream, as_json=True, level=logging.ERROR)
    structlog.get_logger().warning("quiet")
    assert stream.getvalue() == ""


def test_text_for_people_has_no_colours_outside_a_terminal(stream: io.StringIO) -> None:
    set_up_logging(stream, as_json=False)
    structlog.get_logger().info("ready", port=9464)
    assert "ready" in stream.getvalue()
    assert "\x1b[" not in stream.getvalue()


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("stream")
@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_a_failure_shows_no_local_variable_of_the_code(kind: type[io.StringIO]) -> None:
    out = kind()
    set_up_logging(out, as_json=False)
    secret = uuid.uuid4().hex
    try:
        int("odd\x1b[2J" if secret else "")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "ValueError" in out.getvalue()
    assert secret not in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()


def test_foreign_text_cannot_move_the_cursor_of_a_terminal(stream: io.StringIO) -> None:
    set_up_logging(stream, as_json=False)
    structlog.get_logger().warning("odd", model="a\x1b[2J\u202eb")
    assert "\x1b" not in stream.getvalue()
    assert "\u202e" not in stream.getvalue()
    assert "a" in stream.getvalue()
