"""The kill switch over HTTP: `POST /v1/hold` and `POST /v1/resume`, for whoever has the token; `GET /v1/hold` tells.

A listener of its own, so that the one for metrics can be open to more than the few who may do this. TLS is left to what
stands in front of it: the default address is reachable from this machine (in Kubernetes: this Pod) only.
"""

from __future__ import annotations

import hmac
import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

import structlog

from monitor.server_thread import PlainServer, ServerThread
from monitor.settings.section import split_address
from rollback.response.desk import FolderDesk

SLOW_CLIENT_SECONDS: Final = 10.0
LONGEST_REASON: Final = 500

log = structlog.get_logger()


class AdminListener(ServerThread):
    """Serves in a thread of its own until it is closed; a context manager. ``listen`` is host:port, port 0 a free one.

    An address that cannot be taken raises `OSError` that names it.
    """

    def __init__(self, listen: str, token: str, desk: FolderDesk) -> None:
        super().__init__(lambda: _Server(split_address(listen), token, desk), listen, "admin", "admin.listen")


class _Server(PlainServer):
    def __init__(self, address: tuple[str, int], token: str, desk: FolderDesk) -> None:
        self.token = token
        self.desk = desk
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SLOW_CLIENT_SECONDS
    server_version = "tocsin"
    sys_version = ""

    def do_GET(self) -> None:
        if not self._allowed():
            return
        if self.path == "/v1/hold":
            self._told(HTTPStatus.OK)
        else:
            self._answer(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "POST it"})

    def do_POST(self) -> None:
        if not self._allowed():
            return
        try:
            if self.path == "/v1/hold":
                self.server.desk.hold(f"admin call from {self.client_address[0]}")  # at once: the reason may never come
            reason = self._reason()
            if self.path == "/v1/resume":
                self.server.desk.resume()
            elif reason:
                self.server.desk.hold(f"admin call from {self.client_address[0]}: {reason}")
        except OSError as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"{error.filename}: {error.strerror}"})
            return
        log.warning("admin", path=self.path, client=self.client_address[0], reason=reason)
        self._told(HTTPStatus.OK)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        """Only what changes something is news."""

    def _allowed(self) -> bool:
        """Whether the caller has the token and asks for something that there is; answers where not."""
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self.server.token.encode()):
            self._answer(HTTPStatus.UNAUTHORIZED, {"error": "no valid token (Authorization: Bearer ...)"})
            return False
        if self.path not in {"/v1/hold", "/v1/resume"}:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "there are /v1/hold and /v1/resume"})
            return False
        return True

    def _reason(self) -> str:
        """The start of the body, on one line."""
        length = self.headers.get("Content-Length", "0")
        wanted = min(int(length), LONGEST_REASON) if length.isascii() and length.isdigit() else 0
        return " ".join(self.rfile.read(wanted).decode(errors="replace").split())

    def _told(self, status: HTTPStatus) -> None:
        why = self.server.desk.held()
        self._answer(status, {"held": bool(why), "why": why})

    def _answer(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)
