"""Syslog over a connection. It has no acknowledgements: what may not have been read is to be sent again.

A message counts as read once the connection is found alive, with nothing left in the kernel's send queue, at least
`READ_SECONDS` after it was written. Where the receiver hangs up before that, the message goes again over the next
connection (the receiver may see it twice). Lost is only what a receiver's kernel had taken, the receiver left unread
for longer than that, and then died with.
"""

from __future__ import annotations

import array
import fcntl
import socket
import ssl
import termios
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from monitor.alerts.alert import Alert
from monitor.alerts.sink import SinkPermanentError, SinkRetryableError
from monitor.alerts.syslog_frame import frame, message
from monitor.alerts.tls import in_words

TIMEOUT_SECONDS: Final = 10.0
"""How long connecting, a handshake or a write may take, each."""
CLOSE_SECONDS: Final = 2.0
HESITATE_SECONDS: Final = 0.5
HUNG_UP: Final = "the receiver hung up"
READ_SECONDS: Final = 5.0
MOST_UNREAD: Final = 1000
"""Of more messages than that, the oldest count as read."""


@dataclass(frozen=True, slots=True)
class SyslogSettings:
    """``address`` is for messages; ``facility`` is the number; ``max_message_bytes`` the greatest message."""

    address: str
    hostname: str
    facility: int
    max_message_bytes: int
    timeout_seconds: float = TIMEOUT_SECONDS


class SyslogSink:
    """A `Sink`. ``connect`` gives a new connection, or raises `OSError`; ``monotonic`` is a clock in seconds."""

    def __init__(
        self, settings: SyslogSettings, connect: Callable[[], socket.socket], monotonic: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._monotonic = monotonic
        self._socket: socket.socket | None = None
        self._unread: deque[float] = deque(maxlen=MOST_UNREAD)  # when each was written

    def send(self, alerts: Sequence[Alert]) -> int:
        """See `Sink`."""
        frames = [self._framed(alert) for alert in alerts]
        try:
            self._look_after()
            if frames:
                self._write(frames)
        except (OSError, UnicodeError) as error:  # the latter: a host's name that cannot be one
            self._hang_up()
            raise SinkRetryableError(
                f"{self._settings.address}: {in_words(error, self._settings.timeout_seconds)}"
            ) from error
        return len(self._unread)

    def close(self) -> None:
        """See `Sink`: waits a moment until the receiver has read to the end."""
        connection, self._socket = self._socket, None
        unread = len(self._unread)
        self._unread.clear()
        reason = "it is away" if connection is None else _end(connection, hesitate=unread > 0)
        if unread and reason is not None:
            raise SinkRetryableError(
                f"{self._settings.address}: the receiver was not seen to read the last {unread} alerts: {reason}"
            )

    def _framed(self, alert: Alert) -> bytes:
        settings = self._settings
        found = message(alert, settings.facility, settings.hostname)
        if len(found) > settings.max_message_bytes:
            raise SinkPermanentError(
                f"{settings.address}: alert {alert.id} takes {len(found)} bytes, more than the "
                f"{settings.max_message_bytes} of max_message_bytes"
            )
        return frame(found)

    def _look_after(self) -> None:
        """Find out whether the receiver is still there."""
        if self._socket is None:
            return
        reason = _gone(self._socket)
        self._socket.settimeout(self._settings.timeout_seconds)
        if reason is not None:
            unread = len(self._unread)
            self._hang_up()
            if unread:
                raise SinkRetryableError(f"{self._settings.address}: {reason}; the last {unread} alerts go again")
        elif _all_acknowledged(self._socket):
            until = self._monotonic() - READ_SECONDS
            while self._unread and self._unread[0] <= until:
                self._unread.popleft()

    def _write(self, frames: Sequence[bytes]) -> None:
        if self._socket is None:
            self._socket = self._connect()
            self._socket.settimeout(self._settings.timeout_seconds)
        self._socket.sendall(b"".join(frames))
        self._unread.extend([self._monotonic()] * len(frames))

    def _hang_up(self) -> None:
        self._unread.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def connect_tcp(host: str, port: int) -> socket.socket:
    """A connection that notices a host that went away without a word."""
    connection = socket.create_connection((host, port), timeout=TIMEOUT_SECONDS)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
    return connection


def _all_acknowledged(connection: socket.socket) -> bool:
    """Whether the receiver's kernel has taken everything."""
    waiting = array.array("i", [0])
    fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, waiting)
    return waiting[0] == 0


def _gone(connection: socket.socket, seconds: float = 0.0) -> str | None:
    """How the receiver ended the connection within ``seconds``, None where it did not.

    What it says is read and ignored: syslog has no answers. Leaves the connection with that timeout.
    """
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
        return None
    except OSError as error:
        return f"the receiver broke the connection off: {error.strerror or error}"
    return HUNG_UP


def _end(connection: socket.socket, *, hesitate: bool) -> str | None:
    """Say goodbye. None where the receiver answered, and so has read everything; else how it ended.

    Over TLS 1.3 a receiver that does not like our certificate says so a moment after the handshake, and would answer
    our goodbye all the same: that is what to ``hesitate`` for.
    """
    with connection:
        try:
            if isinstance(connection, ssl.SSLSocket):
                reason = _gone(connection, HESITATE_SECONDS) if hesitate else None
                connection.settimeout(CLOSE_SECONDS)
                if reason is None:
                    connection.unwrap()
                return reason
            connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            return error.strerror or str(error)
        reason = _gone(connection, CLOSE_SECONDS)
        return None if reason == HUNG_UP else reason or "it did not answer"
