"""Syslog over UDP (RFC 5426), one message a datagram: nobody says whether it arrives.

For receivers that take nothing else. What the network or a full buffer loses is lost. The one thing that may come back
is that nobody listens (ICMP): for `SETTLE_SECONDS` it is waited for, and what was sent until then goes again.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from monitor.alerts.alert import Alert
from monitor.alerts.sink import Sink, SinkPermanentError, SinkRetryableError, SinkSurroundings
from monitor.alerts.syslog_frame import FACILITIES, message
from monitor.alerts.syslog_sink import SyslogSettings
from monitor.alerts.tls import in_words
from monitor.settings.sink_sections import SinkConfig

TIMEOUT_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 0.3


class UdpSink:
    """A `Sink`. The name is looked up for every batch: the receiver may have moved."""

    def __init__(self, settings: SyslogSettings, host: str, port: int, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._host = host
        self._port = port
        self._monotonic = monotonic
        self._socket: socket.socket | None = None
        self._unread: deque[float] = deque()  # when each was sent

    def send(self, alerts: Sequence[Alert]) -> int:
        """See `Sink`."""
        datagrams = [self._datagram(alert) for alert in alerts]
        try:
            self._look_after()
            for i, datagram in enumerate(datagrams):
                self._send_one(datagram, i)
        except (OSError, UnicodeError) as error:  # the latter: a host's name that cannot be one
            self._hang_up()
            why = in_words(error, TIMEOUT_SECONDS)
            raise SinkRetryableError(f"{self._settings.address}: {why}") from error
        return len(self._unread)

    def close(self) -> None:
        """See `Sink`: waits a moment whether nobody listens."""
        if not self._unread:
            return
        time.sleep(CLOSE_SECONDS)
        try:
            self._look_after()
        except OSError as error:
            raise SinkRetryableError(f"{self._settings.address}: {error.strerror or error}") from error
        finally:
            self._hang_up()

    def _datagram(self, alert: Alert) -> bytes:
        found = message(alert, self._settings.facility, self._settings.hostname)
        if len(found) > self._settings.max_message_bytes:
            raise SinkPermanentError(
                f"{self._settings.address}: alert {alert.id} takes {len(found)} bytes, more than the "
                f"{self._settings.max_message_bytes} of max_message_bytes"
            )
        return found

    def _send_one(self, datagram: bytes, i: int) -> None:
        if self._socket is None:
            self._socket = self._connected()
        try:
            self._socket.send(datagram)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            why = f"{self._settings.address}: {len(datagram)} bytes are too many for a datagram: see max_message_bytes"
            raise SinkPermanentError(why, sent=i) from error
        self._unread.append(self._monotonic())

    def _look_after(self) -> None:
        """Find out whether nobody listens; what was sent long enough ago has arrived, or nobody will ever know."""
        if self._socket is None:
            return
        if code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))
        until = self._monotonic() - SETTLE_SECONDS
        while self._unread and self._unread[0] <= until:
            self._unread.popleft()
        if not self._unread:
            self._hang_up()

    def _connected(self) -> socket.socket:
        failure = OSError(f"{self._host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM):
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(TIMEOUT_SECONDS)
                connection.connect(address)
            except OSError as error:
                connection.close()
                failure = error
            else:
                return connection
        raise failure

    def _hang_up(self) -> None:
        self._unread.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:
    """The sink."""
    host, port = config.host_and_port()
    settings = SyslogSettings(f"{host}:{port}", around.hostname, FACILITIES[config.facility], config.message_limit())
    return UdpSink(settings, host, port, around.monotonic)
