"""JSON over HTTP: connections stay open, bodies and connections are bounded, and errors are JSON too."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import structlog

from monitor.demo.server.protocol import Reply, Request, problem
from monitor.server_thread import ServerThread

MAX_BODY: Final = 16 << 20
MAX_CONNECTIONS: Final = 64
"""Each holds a thread; who comes when all are taken is turned away at once."""
SLOW_CLIENT_SECONDS: Final = 30.0

log = structlog.get_logger()


class JsonServer(ServerThread):
    """Answers with ``respond`` in threads of its own until it is closed; a context manager.

    ``address`` is host and port (0: a free one). An address that cannot be taken raises `OSError` that names it.
    """

    def __init__(self, address: tuple[str, int], respond: Callable[[Request], Reply], max_body: int = MAX_BODY) -> None:
        super().__init__(lambda: _Server(address, respond, max_body), f"{address[0]}:{address[1]}", "models")

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], respond: Callable[[Request], Reply], max_body: int) -> None:
        self.respond = respond
        self.max_body = max_body
        self.free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        """Whatever a connection dies of ends that connection only."""
        log.exception("connection failed", client=client_address[0])  # noqa: LOG004 - it is called while handling one


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = SLOW_CLIENT_SECONDS
    disable_nagle_algorithm = True
    server_version = "tocsin"
    sys_version = ""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):  # the client went away: nobody is left to tell
            self.close_connection = True

    def do_GET(self) -> None:
        self._exchange()

    def do_POST(self) -> None:
        self._exchange()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class cannot read is answered as JSON as well; the rest of the connection is not trusted."""
        self.close_connection = True
        status = HTTPStatus(code)
        self._send(problem(status, message or explain or status.phrase))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        """A request is no news."""

    def _exchange(self) -> None:
        body = self._body()
        if body is not None:
            self._send(self._respond(Request(self.command, self.path, body)))

    def _respond(self, request: Request) -> Reply:
        try:
            return self.server.respond(request)
        except Exception:  # one request must not end the server; said in the log and to the client
            log.exception("request failed", method=request.method, path=request.path[:200])
            return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says why")

    def _body(self) -> bytes | None:
        """The body, b"" where there is none; None where it cannot be read, which has been answered then."""
        lengths = self.headers.get_all("Content-Length", ["0"])
        if "Transfer-Encoding" in self.headers:
            self.send_error(HTTPStatus.LENGTH_REQUIRED, "send the body with a Content-Length")
        elif len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            self.send_error(HTTPStatus.BAD_REQUEST, "the Content-Length is no number")
        elif len(lengths[0]) > len(str(self.server.max_body)) or int(lengths[0]) > self.server.max_body:
            self.send_error(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {self.server.max_body} bytes"
            )
        else:
            body = self.rfile.read(int(lengths[0]))
            if len(body) == int(lengths[0]):
                return body
            self.close_connection = True
        return None

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(reply.body)
