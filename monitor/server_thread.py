"""An HTTP server of the standard library, in a thread of its own from when it is made until it is closed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self

POLL_SECONDS: Final = 0.1
"""How soon `ServerThread.close` is noticed."""


class PlainServer(ThreadingHTTPServer):
    """At an IPv4 or IPv6 address; its threads keep no process alive."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)


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
