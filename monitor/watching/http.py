"""One listener for machines: `/metrics`, `/healthz` and `/readyz`. Reads only; answers GET and HEAD."""

from __future__ import annotations

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from monitor.server_thread import PlainServer, ServerThread
from monitor.settings.section import split_address
from monitor.watching.health import Health

TEXT: Final = "text/plain; charset=utf-8"
SLOW_CLIENT_SECONDS: Final = 10.0


class Answer(NamedTuple):
    """What a path says now."""

    status: HTTPStatus
    content_type: str
    body: bytes


class Listener(ServerThread):
    """Serves in a thread of its own until it is closed; a context manager. ``listen`` is host:port, port 0 a free one.

    An address that cannot be taken raises `OSError` that names it.
    """

    def __init__(self, listen: str, registry: CollectorRegistry, health: Health) -> None:
        super().__init__(lambda: _Server(split_address(listen), registry, health), listen, "http", "http.listen")

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.address[1]


def answer(path: str, accept: str, registry: CollectorRegistry, health: Health) -> Answer:
    """What ``path`` says; ``accept`` is the request's header of that name."""
    match path.partition("?")[0]:
        case "/metrics":
            encode, content_type = choose_encoder(accept)
            return Answer(HTTPStatus.OK, content_type, encode(registry))
        case "/healthz":
            return _probe(health.why_dead())
        case "/readyz":
            return _probe(health.why_unready())
    return Answer(HTTPStatus.NOT_FOUND, TEXT, b"/metrics, /healthz, /readyz\n")


def _probe(trouble: str | None) -> Answer:
    status = HTTPStatus.OK if trouble is None else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, TEXT, f"{trouble or 'ok'}\n".encode())


class _Server(PlainServer):
    def __init__(self, address: tuple[str, int], registry: CollectorRegistry, health: Health) -> None:
        self.registry = registry
        self.health = health
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SLOW_CLIENT_SECONDS
    server_version = "tocsin"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        """A scrape every few seconds is no news."""

    def _answer(self, *, with_body: bool) -> None:
        accept = self.headers.get("Accept", "")
        said = answer(self.path, accept, self.server.registry, self.server.health)
        self.send_response(said.status)
        self.send_header("Content-Type", said.content_type)
        self.send_header("Content-Length", str(len(said.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(said.body)
