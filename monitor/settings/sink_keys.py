"""Which keys belong to which type of sink, and what they are where nothing is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

SinkType = Literal[
    "syslog_tcp",
    "syslog_tls",
    "syslog_udp",
    "splunk_hec",
    "webhook",
    "elastic",
    "kafka",
    "alertmanager",
    "file",
    "stdout",
]

_TLS: Final = frozenset({"cafile", "certfile", "keyfile", "key_password_file", "check_hostname"})
_SYSLOG: Final = frozenset({"address", "facility"})
_HTTP: Final = _TLS | {"url", "timeout_seconds"}
_LOGIN: Final = frozenset({"username", "password_file"})

ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "syslog_tcp": _SYSLOG,
    "syslog_tls": _SYSLOG | _TLS,
    "syslog_udp": _SYSLOG,
    "splunk_hec": _HTTP | {"token_file", "index", "sourcetype", "acknowledge"},
    "webhook": _HTTP | _LOGIN | {"url_file", "token_file", "headers", "secret_file", "template_file"},
    "elastic": _HTTP | _LOGIN | {"api_key_file", "index"},
    "kafka": frozenset({"kafka", "topic", "timeout_seconds"}),
    "alertmanager": _HTTP | _LOGIN | {"token_file", "labels"},
    "file": frozenset({"path", "rotate_bytes", "rotate_keep"}),
    "stdout": frozenset(),
}
"""Besides those that every sink has."""
OWN: Final = frozenset[str]().union(*ALLOWED.values())
OF_INCIDENTS: Final = frozenset({"format", "send_suspected", "min_severity", "alerts_per_minute", "burst"})
"""What says nothing about vetting requests."""
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "syslog_tcp": ("address",),
    "syslog_tls": ("address",),
    "syslog_udp": ("address",),
    "splunk_hec": ("url", "token_file"),
    "elastic": ("url",),
    "kafka": ("kafka", "topic"),
    "alertmanager": ("url",),
    "file": ("path",),
}
DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    # the data stream of Elastic's own naming, which its rules for external alerts look into
    "elastic": {"format": "ecs", "index": "logs-tocsin.incident-default"},
    # what is only suspected is nothing to be woken for, and that is what it is for
    "alertmanager": {"format": "incident", "send_suspected": False},
}
"""Where a type differs from the others."""

SYSLOG_BYTES: Final = 8096
"""What rsyslog takes where nothing else is configured; RFC 5425 asks every receiver to take 8192."""
FILE_BYTES: Final = 1_048_576
MESSAGE_BYTES: Final[Mapping[str, int]] = {
    "syslog_tcp": SYSLOG_BYTES,
    "syslog_tls": SYSLOG_BYTES,
    "syslog_udp": 4096,
    "splunk_hec": 10_000,
    "webhook": 262_144,
    "elastic": FILE_BYTES,
    "kafka": 1_000_000,
    "alertmanager": 65_536,
    "file": FILE_BYTES,
    "stdout": FILE_BYTES,
}
"""The greatest message: Splunk cuts events at 10000 bytes (`TRUNCATE`), brokers take 1048588 with everything around."""
LONGEST_DATAGRAM: Final = 65_000
