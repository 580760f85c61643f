"""A listener has room for so many connections, and for none for ever."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler

import pytest

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


def test_who_says_nothing_is_cut_off_when_it_has_lasted_too_long(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert silent.recv(1) == b""


def test_of_too_many_connections_the_oldest_goes_and_who_asks_is_answered(address: tuple[str, int]) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(5)]
        assert [status(address) for _ in range(5)] == [204] * 5
        assert silent[0].recv(1) == b""


def test_connections_that_end_make_room(address: tuple[str, int]) -> None:
    assert [status(address) for _ in range(20)] == [204] * 20
