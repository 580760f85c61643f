"""Where alerts go: whether each receiver takes a connection. Nothing is sent; `tocsin alerts test` does that."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from monitor.alerts.http_receiver import read_url
from monitor.alerts.syslog_sink import TIMEOUT_SECONDS, connect_tcp
from monitor.alerts.tls import tls_context
from monitor.doctor.check import Result, ok, problem
from monitor.settings.sink_sections import SinkConfig
from monitor.sources.kafka_connect import require_reachable
from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.source import RetryableSourceError
from rollback.reload.exchange import Address as HttpAddress
from rollback.reload.exchange import split_url

SECONDS = 3 * TIMEOUT_SECONDS


def check_sink(name: str, config: SinkConfig) -> Iterator[Result]:
    """One sink: a TCP connection and where it is asked for TLS, or a file that can be appended to."""
    subject = f"sink {name}"
    try:
        where = _reach(config)
    except (OSError, ValueError, RetryableSourceError) as error:
        said = f"{_named(config)}: {getattr(error, 'strerror', None) or error}"
        yield problem(subject, said, f"see that the receiver runs, sinks.{name} and the network; alerts wait on disk")
        return
    yield ok(subject, f"{where}; tocsin alerts test --sink {name} sends a test alert")


def _named(config: SinkConfig) -> str:
    """The receiver, without what may be secret of a URL."""
    return (
        str(config.address or config.path or config.topic or config.type) if config.url is None else _host(config.url)
    )


def _host(url: str) -> str:
    address = HttpAddress.of(split_url(url)[0])
    return f"{address.host}:{address.port}"


def _reach(config: SinkConfig) -> str:
    if config.type == "stdout":
        return "standard output is there"
    if config.type == "file":
        return _reach_file(config)
    if config.type == "syslog_udp":
        host, port = config.host_and_port()
        socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        return f"{config.address} has an address; over UDP nobody says more"
    if config.kafka is not None:
        require_reachable(KafkaSettings(config.kafka.bootstrap_servers, {config.topic or "": "inference"}, "doctor"))
        return "a broker takes connections"
    return _reach_receiver(config)


def _reach_receiver(config: SinkConfig) -> str:
    if config.address is not None:
        (host, port), secure = config.host_and_port(), config.type == "syslog_tls"
    else:
        url = config.url or read_url(config.url_file)
        address = HttpAddress.of(split_url(url)[0])
        host, port, secure = address.host, address.port, address.secure
    where = f"{host}:{port}" if config.address is None else config.address
    if not secure:
        connect_tcp(host, port).close()
        return f"{where} takes connections"
    context = tls_context(config)
    with connect_tcp(host, port) as plain, context.wrap_socket(plain, server_hostname=host) as connection:
        return f"{where} takes connections over {connection.version()}"


def _reach_file(config: SinkConfig) -> str:
    path = config.file()
    place = path if path.exists() else path.parent
    if not os.access(place, os.W_OK, effective_ids=True):
        raise PermissionError(f"{place} cannot be written to" if place.exists() else f"{place} does not exist")
    return f"{path} can be written to"
