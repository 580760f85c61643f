"""What every sender over HTTP does when the other end hangs, drips, tears off, or says too much."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alert_lines import line
from lying_server import RawServer

from monitor.alerts.alert import Alert, read_incident
from monitor.alerts.encode.incident import make as encoder
from monitor.alerts.open_sinks import open_sink
from monitor.alerts.outgoing import incident_alert
from monitor.alerts.sink import SinkRetryableError
from monitor.settings.sink_sections import SinkConfig

SECONDS = 0.4
TYPES: dict[str, dict[str, Any]] = {
    "splunk_hec": {"token_file": "secret"},
    "webhook": {},
    "elastic": {},
    "alertmanager": {},
}


def hang(connection: socket.socket, over: threading.Event) -> None:
    over.wait(10)


def drip(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not over.wait(0.05):
        connection.sendall(b"x")


def drip_body(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not over.wait(0.05):
        connection.sendall(b"x")


def cut(connection: socket.socket, over: threading.Event) -> None:
    """Nothing is said."""


def half(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"text":"Succ')


def endless(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)


def no_http(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"220 mail.example ESMTP\r\n")


FAULTS = {
    hang: r"no answer within 0\.4 s",
    drip: r"no answer within 0\.4 s",
    drip_body: r"no answer within 0\.4 s",
    cut: "Remote end closed connection",
    half: "IncompleteRead",
    endless: "its answer is longer than 1048576 bytes",
    no_http: "220 mail",
}


def alert() -> Alert:
    message = read_incident(line())
    return incident_alert(message, encoder("1", 9000).incident(message))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("kind", TYPES)
def test_a_receiver_that_misbehaves_is_left_in_time_and_asked_again(
    kind: Any, fault: Callable[[socket.socket, threading.Event], None], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("s3cret")
    settings = {key: tmp_path / value for key, value in TYPES[kind].items()}
    with RawServer(fault) as server:
        config = SinkConfig(type=kind, url=server.url, timeout_seconds=SECONDS, **settings)
        sink = open_sink(config, time.monotonic)
        begun = time.monotonic()
        with pytest.raises(SinkRetryableError, match=FAULTS[fault]):
            sink.send([alert()])
        assert time.monotonic() - begun < SECONDS + 2


def test_a_handshake_that_never_ends_is_left_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        sink = open_sink(SinkConfig(type="webhook", url=url, timeout_seconds=SECONDS), time.monotonic)
        begun = time.monotonic()
        with pytest.raises(SinkRetryableError, match=r"no answer within 0\.4 s"):
            sink.send([alert()])
        assert time.monotonic() - begun < SECONDS + 2
