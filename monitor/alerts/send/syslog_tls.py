"""Syslog over TLS (RFC 5425), 1.2 at least; the receiver's certificate is always checked."""

from __future__ import annotations

import socket

from monitor.alerts.sink import Sink, SinkSurroundings
from monitor.alerts.syslog_frame import FACILITIES
from monitor.alerts.syslog_sink import SyslogSettings, SyslogSink, connect_tcp
from monitor.alerts.tls import tls_context
from monitor.settings.sink_sections import SinkConfig


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:
    """The sink. Certificates and keys are read at every connection: a renewed one needs no restart."""
    host, port = config.host_and_port()

    def connect() -> socket.socket:
        context = tls_context(config)
        plain = connect_tcp(host, port)
        try:
            secure = context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        around.heard(f"{secure.version()}; its certificate is good")
        return secure

    settings = SyslogSettings(f"{host}:{port}", around.hostname, FACILITIES[config.facility], config.message_limit())
    return SyslogSink(settings, connect, around.monotonic)
