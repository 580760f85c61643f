"""Nothing that an attacker may name can end a field, a message or a frame."""

from __future__ import annotations

import re
from typing import Any

import pytest
from alert_lines import alert as plain_alert
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts.alert import Alert
from monitor.alerts.syslog_frame import BOM, HEADER_ROOM, LONGEST_VALUE, frame, message

HEAD = re.compile(
    rb"<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) \[(\S+)((?: \S+?=\"(?:[^\"\\\]]|\\[\"\\\]])*\")*)\] (.*)", re.DOTALL
)
PAIR = re.compile(r" (\S+?)=\"((?:[^\"\\\]]|\\[\"\\\]])*)\"")
CONTROLS = {*range(32), 127}

texts = st.text(max_size=300) | st.sampled_from(
    ['"]', "\\", '\\"] <0>1 - - - - - -', "a\nb", "\x00", "\x85\u2028", "\ud800", "12 <0>1 - - - - - -", ""]
)


def parsed(raw: bytes) -> tuple[list[str], dict[str, str], bytes]:
    """Header fields, parameters and body of a message, read as RFC 5424 says."""
    match = HEAD.fullmatch(raw)
    assert match is not None
    pairs = {key: re.sub(r"\\([\"\\\]])", r"\1", value) for key, value in PAIR.findall(match[8].decode())}
    return [group.decode() for group in match.groups()[:7]], pairs, match[9]


def unframed(stream: bytes) -> list[bytes]:
    """The messages of octet-counted frames."""
    found = []
    while stream:
        length, _, rest = stream.partition(b" ")
        assert length.isdigit()
        found.append(rest[: int(length)])
        stream = rest[int(length) :]
    return found


def alert(**changes: Any) -> Alert:
    return plain_alert(**{"id": "a-1", "incident": "a", "at": 1767225600.25, "body": b'{"a":1}', **changes})


hostile = st.builds(
    alert,
    id=texts,
    incident=texts,
    model=texts,
    family=texts,
    severity=st.integers(0, 10),
    at=st.floats(),
    body=st.binary(max_size=500),
)


def test_a_message_is_as_the_rfc_says() -> None:
    assert message(alert(), 16, "watcher-0") == (
        b"<130>1 2026-01-01T00:00:00.250000Z watcher-0 tocsin - poisoning "
        b'[tocsin@32473 alert="a-1" uid="a" model="nids" family="poisoning" activity="create" status="confirmed" '
        b'severity="9"] {"a":1}'
    )


@given(hostile, texts)
def test_any_alert_is_one_well_formed_message(told: Alert, hostname: str) -> None:
    raw = message(told, 16, hostname)
    head, pairs, body = parsed(raw)
    assert head[6] == "tocsin@32473"
    assert set(pairs) == {"alert", "uid", "model", "family", "activity", "status", "severity"}
    assert pairs["severity"] == str(told.severity)
    assert not set(raw) & CONTROLS
    assert len(raw) - len(body) <= HEADER_ROOM
    assert len(body.removeprefix(BOM)) == len(told.body)


@given(st.lists(hostile, max_size=5))
def test_frames_are_read_back_one_by_one(told: list[Alert]) -> None:
    messages = [message(one, 16, "host") for one in told]
    assert unframed(b"".join(map(frame, messages))) == messages


@given(st.text(alphabet='ab"\\]é', max_size=40))
def test_a_value_is_read_back_as_it_was(text: str) -> None:
    assert parsed(message(alert(model=text), 16, "host"))[1]["model"] == text


@given(st.text(min_size=100))
def test_a_long_value_is_cut_between_characters(text: str) -> None:
    value = parsed(message(alert(model=text), 16, "host"))[1]["model"]
    assert len(value.encode()) <= LONGEST_VALUE


def test_a_body_beyond_ascii_is_marked_as_utf_8() -> None:
    assert parsed(message(alert(body="é".encode()), 16, "host"))[2] == BOM + "é".encode()


@pytest.mark.parametrize(("severity", "expected"), [(0, 6), (2, 5), (5, 4), (8, 3), (9, 2), (10, 2)])
def test_the_priority_follows_the_severity_and_is_never_an_emergency(severity: int, expected: int) -> None:
    assert message(alert(severity=severity), 16, "host").startswith(b"<%d>1 " % (128 + expected))
