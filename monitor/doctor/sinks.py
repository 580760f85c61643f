"""Where alerts go: whether each receiver takes a connection. Nothing is sent; `tocsin alerts test` does that."""

from __future__ import annotations

import os
from collections.abc import Iterator

from monitor.alerts.send.syslog_tls import tls_context
from monitor.alerts.syslog_sink import TIMEOUT_SECONDS, connect_tcp
from monitor.doctor.check import Result, ok, problem
from monitor.settings.sink_sections import SinkConfig

SECONDS = 3 * TIMEOUT_SECONDS


def check_sink(name: str, config: SinkConfig) -> Iterator[Result]:
    """One sink: a TCP connection and where it is asked for TLS, or a file that can be appended to."""
    subject = f"sink {name}"
    try:
        where = _reach_file(config) if config.type == "file" else _reach_receiver(config)
    except OSError as error:
        said = f"{config.address or config.path}: {error.strerror or error}"
        yield problem(subject, said, f"see that the receiver runs, sinks.{name} and the network; alerts wait on disk")
        return
    yield ok(subject, f"{where}; tocsin alerts test --sink {name} sends a test alert")


def _reach_receiver(config: SinkConfig) -> str:
    host, port = config.host_and_port()
    if config.type == "syslog_tcp":
        connect_tcp(host, port).close()
        return f"{config.address} takes connections"
    context = tls_context(config)
    with connect_tcp(host, port) as plain, context.wrap_socket(plain, server_hostname=host) as secure:
        return f"{config.address} takes connections over {secure.version()}"


def _reach_file(config: SinkConfig) -> str:
    path = config.file()
    place = path if path.exists() else path.parent
    if not os.access(place, os.W_OK, effective_ids=True):
        raise PermissionError(f"{place} cannot be written to" if place.exists() else f"{place} does not exist")
    return f"{path} can be written to"
