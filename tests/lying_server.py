"""A real model server that can be made to misbehave over real HTTP."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Self

import msgspec

from monitor.demo.server.http import JsonServer
from monitor.demo.server.protocol import Protocol, Reply, Request, problem
from monitor.demo.server.store import ModelStore
from rollback.registry.registry import Registry
from rollback.reload.memory import Behaviour


class LyingServer:
    """Honest, unless its `behaviour` says otherwise; a context manager."""

    def __init__(self, registry: Registry, name: str) -> None:
        self._registry = registry
        self._name = name
        self._real = Protocol(ModelStore(registry, name), "1")
        self._pretended: Protocol | None = None
        self._loading: Request | None = None
        self._asks_left = 0
        self._over = threading.Event()
        self.behaviour = Behaviour()
        self.requests: list[Request] = []
        self._http = JsonServer(("127.0.0.1", 0), self._respond)
        self.url = self._http.url

    def _respond(self, request: Request) -> Reply:
        self.requests.append(request)
        conduct = self.behaviour.conduct
        if conduct == "hangs":
            self._over.wait()
        if request.path.endswith("/load"):
            return self._told(request)
        if self._loading and request.method == "GET":
            self._go_on_loading()
        if self._pretended is None:
            return self._real.respond(request)
        said = msgspec.json.decode(self._pretended.respond(request).body)
        if request.path.endswith("/infer"):
            kept = len(said["outputs"][0]["data"]) // 2 if conduct == "half_right" else 0
            old = msgspec.json.decode(self._real.respond(request).body)
            said["outputs"][0]["data"][kept:] = old["outputs"][0]["data"][kept:]
        return Reply(HTTPStatus.OK, msgspec.json.encode(said))

    def _told(self, request: Request) -> Reply:
        match self.behaviour.conduct:
            case "busy":
                return problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy")
            case "refuses":
                return problem(HTTPStatus.FORBIDDEN, "no")
            case "says_new_serves_old" | "half_right":
                self._pretended = Protocol(ModelStore(self._registry, self._name), "1")
                return Reply(HTTPStatus.OK, b"{}")
        self._pretended = None
        if self.behaviour.asks:
            self._loading, self._asks_left = request, self.behaviour.asks
            return Reply(HTTPStatus.OK, b"{}")
        return self._real.respond(request)

    def _go_on_loading(self) -> None:
        if self._asks_left == 0 and self._loading is not None:
            self._real.respond(self._loading)
            self._loading = None
        self._asks_left -= 1

    def close(self) -> None:
        self._over.set()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ScriptedServer(JsonServer):
    """Answers every request with what ``body`` holds for the end of its path, whatever was asked."""

    def __init__(self, **bodies: Any) -> None:
        self.requests: list[Request] = []

        def respond(request: Request) -> Reply:
            self.requests.append(request)
            found = bodies.get(request.path.rpartition("/")[2], {})
            return Reply(HTTPStatus.OK, found if isinstance(found, bytes) else msgspec.json.encode(found))

        super().__init__(("127.0.0.1", 0), respond)


class RawServer:
    """Takes connections, reads the request, and lets ``talk`` write whatever it likes; a context manager."""

    def __init__(
        self, talk: Callable[[socket.socket, threading.Event], None], context: ssl.SSLContext | None = None
    ) -> None:
        self._talk = talk
        self._context = context
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._context is None:
                self._talk_on(connection)
                return
            with self._context.wrap_socket(connection, server_side=True) as wrapped:
                self._talk_on(wrapped)

    def _talk_on(self, connection: socket.socket) -> None:
        self._read_request(connection)
        self._talk(connection, self._over)

    @staticmethod
    def _read_request(connection: socket.socket) -> None:
        """All of it: who closes with something unread resets the connection, and the answer with it."""
        read = b""
        while b"\r\n\r\n" not in read and (more := connection.recv(65536)):
            read += more
        head, _, body = read.partition(b"\r\n\r\n")
        wanted = next((int(h[15:]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), 0)
        while len(body) < wanted and (more := connection.recv(65536)):
            body += more

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
