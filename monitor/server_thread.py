"""An HTTP server of the standard library, in a thread of its own from when it is made until it is closed."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self, TypeAlias

POLL_SECONDS: Final = 0.1
"""How soon `ServerThread.close` is noticed."""
MOST_CONNECTIONS: Final = 32
LONGEST_SECONDS: Final = 30.0
_Request: TypeAlias = socket.socket | tuple[bytes, socket.socket]
"""As `socketserver` has it; over TCP it is the connection."""


class PlainServer(ThreadingHTTPServer):
    """At an IPv4 or IPv6 address; its threads keep no process alive.

    Of more than ``most`` connections at a time the oldest are cut, and every one after ``longest`` seconds: who opens
    many and says nothing takes neither memory nor threads from what runs beside, nor its turn from who asks something.
    """

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        most: int = MOST_CONNECTIONS,
        longest: float = LONGEST_SECONDS,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._most = most
        self._longest = longest
        self._since: dict[_Request, float] = {}
        self._changing = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: _Request, client_address: Any) -> None:
        """Answer in a thread; the oldest of too many connections goes for it."""
        with self._changing:
            self._since[request] = time.monotonic()
            oldest = list(self._since)[: -self._most]
        for each in oldest:
            _cut(each)
        super().process_request(request, client_address)

    def shutdown_request(self, request: _Request) -> None:
        """It is over, however it went."""
        with self._changing:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut what has lasted too long; called while nothing else happens, too."""
        before = time.monotonic() - self._longest
        with self._changing:
            old = [request for request, since in self._since.items() if since < before]
        for request in old:
            _cut(request)

    def handle_error(self, request: _Request, client_address: Any) -> None:
        """A connection that breaks off is its client's affair."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _cut(request: _Request) -> None:
    with suppress(OSError):  # it is over by itself
        if isinstance(request, socket.socket):
            request.shutdown(socket.SHUT_RDWR)


class ServerThread:
    """Serves until it is closed; a context manager.

    ``make`` opens the server. An address that it cannot take raises `OSError` that says ``where`` that is, and by which
    ``setting``.
    """

    def __init__(self, make: Callable[[], ThreadingHTTPServer], where: str, name: str, setting: str = "") -> None:
        try:
            self._server = make()
        except OSError as error:
            said = f" ({setting})" if setting else ""
            raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}{said}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name=f"tocsin-{name}", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: host and port."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Serve nothing any more and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
