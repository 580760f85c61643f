"""Syslog over TLS (RFC 5425), 1.2 at least; the receiver's certificate is always checked."""

from __future__ import annotations

import socket
import ssl

from monitor.alerts.sink import Sink, SinkSurroundings
from monitor.alerts.syslog_frame import FACILITIES
from monitor.alerts.syslog_sink import SyslogSettings, SyslogSink, connect_tcp
from monitor.settings.sink_sections import SinkConfig


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:
    """The sink. Certificates and keys are read at every connection: a renewed one needs no restart."""
    host, port = config.host_and_port()

    def connect() -> socket.socket:
        context = tls_context(config)
        plain = connect_tcp(host, port)
        try:
            return context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise

    settings = SyslogSettings(f"{host}:{port}", around.hostname, FACILITIES[config.facility], config.message_limit())
    return SyslogSink(settings, connect, around.monotonic)


def tls_context(config: SinkConfig) -> ssl.SSLContext:
    """How to speak TLS; raises `OSError` that names the file where one cannot be used."""
    try:
        context = ssl.create_default_context(cafile=config.cafile)
    except OSError as error:
        raise OSError(f"cafile {config.cafile} cannot be used: {error.strerror or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = config.check_hostname
    if config.certfile is not None:
        try:
            # without a password an encrypted key must fail, not ask on a terminal
            context.load_cert_chain(config.certfile, config.keyfile, _key_password(config) or "")
        except (OSError, UnicodeDecodeError) as error:
            raise OSError(
                f"certfile {config.certfile} with keyfile {config.keyfile} cannot be used: {error}"
            ) from error
    return context


def _key_password(config: SinkConfig) -> str | None:
    return config.key_password_file.read_text(encoding="utf-8").strip() if config.key_password_file else None
