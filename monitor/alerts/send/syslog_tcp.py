"""Syslog over TCP in the clear (RFC 5424, RFC 6587): for a receiver on this host or a closed network."""

from __future__ import annotations

from functools import partial

from monitor.alerts.sink import Sink, SinkSurroundings
from monitor.alerts.syslog_frame import FACILITIES
from monitor.alerts.syslog_sink import SyslogSettings, SyslogSink, connect_tcp
from monitor.settings.sink_sections import SinkConfig


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:
    """The sink."""
    host, port = config.host_and_port()
    settings = SyslogSettings(f"{host}:{port}", around.hostname, FACILITIES[config.facility], config.message_limit())
    return SyslogSink(settings, partial(connect_tcp, host, port), around.monotonic)
