"""A listener has room for so many connections, and for none for ever."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler

import pytest
from daemon_process import wait_until

from monitor.server_thread import PlainServer, ServerThread


class Fine(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's signature
        """Nothing."""


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with ServerThread(
        lambda: PlainServer(("127.0.0.1", 0), Fine, most=2, longest=2.0), "127.0.0.1:0", "test"
    ) as serving:
        yield serving.address


def status(address: tuple[str, int]) -> int:
    """Of an answer; 0 where the connection is closed instead."""
    connection = HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_who_says_nothing_keeps_others_out_for_a_while_and_is_then_cut_off(address: tuple[str, int]) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(2)]
        wait_until(lambda: status(address) == 0, "no room", seconds=20)
        silent[0].sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert [each.recv(1) for each in silent] == [b"", b""]
        wait_until(lambda: status(address) == 204, "room", seconds=20)


def test_connections_that_end_make_room(address: tuple[str, int]) -> None:
    served = 0
    for _ in range(20):
        wait_until(lambda: status(address) == 204, "room", seconds=20)
        served += 1
    assert served == 20
