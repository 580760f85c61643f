"""One HTTP exchange in a time that is bounded as a whole: the connection is cut when it is over.

A timeout of a socket bounds each read alone, so that a server that drips its answer, or its handshake, would hold its
client for as long as it likes.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Self

READ_BYTES: Final = 65_536


class AnswerTooLongError(Exception):
    """A server answers with more than is read."""


class Answer(NamedTuple):
    """What a server said; the names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TimedConnection:
    """A connection for one exchange, over TLS where there is a ``context``; a context manager, which closes it.

    Every call ends within ``seconds`` of the making, or raises `TimeoutError`; other failures are `OSError` and
    `http.client.HTTPException`. Redirects are not followed, and proxies of the environment not used.
    """

    def __init__(self, host: str, port: int, seconds: float, context: ssl.SSLContext | None = None) -> None:
        self._http = (
            http.client.HTTPConnection(host, port, seconds)
            if context is None
            else http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
        )
        self._context = context
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._http.close()
        if self._socket is not None:
            self._socket.close()

    def connect(self) -> None:
        """Open the connection, and send nothing."""
        with self._in_time():
            plain = socket.create_connection((self._http.host, self._http.port), self._seconds)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = plain
            if self._context is not None:
                self._socket = secure = self._secured(self._context, plain)
                secure.do_handshake()
            # http.client forgets it once the answer has begun
            self._http.sock = self._socket

    def exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], limit: int) -> Answer:
        """The answer, over a connection that is opened for it; `AnswerTooLongError` for a body beyond ``limit``."""
        self.connect()
        with self._in_time():
            self._http.request(method, path, body, dict(headers))
            response = self._http.getresponse()
            said = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, said, _read(response, limit))

    def _secured(self, context: ssl.SSLContext, plain: socket.socket) -> ssl.SSLSocket:
        """Its handshake is to come: it can be cut, too."""
        try:
            return context.wrap_socket(plain, server_hostname=self._http.host, do_handshake_on_connect=False)
        except BaseException:
            plain.close()
            raise

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        """Whatever is read or fails after the end was cut."""
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError) or self._over():
                raise self._late() from error
            raise
        if self._over():
            raise self._late()

    def _late(self) -> TimeoutError:
        return TimeoutError(f"no whole answer within {self._seconds:g} s")

    def _over(self) -> bool:
        return time.monotonic() >= self._ends

    def _cut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                # not that of an SSLSocket, which would go on in the clear
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _read(response: http.client.HTTPResponse, limit: int) -> bytes:
    answer = bytearray()
    while part := response.read(READ_BYTES):
        answer += part
        if len(answer) > limit:
            raise AnswerTooLongError(f"its answer is longer than {limit} bytes")
    if response.length:  # http.client says so only where everything is read at once
        raise http.client.IncompleteRead(bytes(answer), response.length)
    return bytes(answer)
