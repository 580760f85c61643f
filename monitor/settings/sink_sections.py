"""The section `sinks`: where alerts go, each sink by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from monitor.settings.kafka_connection import KafkaConnection
from monitor.settings.section import Address, Section, Topic, split_address
from monitor.settings.sink_keys import (
    ALLOWED,
    DEFAULTS,
    FILE_BYTES,
    LONGEST_DATAGRAM,
    MESSAGE_BYTES,
    NEEDED,
    OF_INCIDENTS,
    OWN,
    SYSLOG_BYTES,
    SinkType,
)
from rollback.reload.exchange import Address as HttpAddress
from rollback.reload.exchange import split_url

__all__ = ["FILE_BYTES", "SYSLOG_BYTES", "SinkConfig", "SinkName", "SinkType"]

SinkName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Facility = Literal[
    "authpriv", "audit", "alert", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"
]
OURS: Final = frozenset(
    {"authorization", "host", "content-length", "content-type", "connection", "transfer-encoding", "idempotency-key"}
    | {"webhook-id", "webhook-timestamp", "webhook-signature"}
)
"""Headers that are not to be configured: what they say is known, or a secret."""


def _check_url(url: str) -> str:
    split_url(url)
    return url


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not re.fullmatch(r"[ -~]*", value):
            raise ValueError(f"header {name!r}: names are letters, digits and hyphens, values printable ASCII")
        if name.lower() in OURS:
            raise ValueError(f"header {name!r} is set by Tocsin; secrets come from token_file or password_file")
    return headers


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    for name in labels:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"label {name!r}: a label's name is letters, digits and underscores")
    return labels


Url = Annotated[str, AfterValidator(_check_url)]
Headers = Annotated[dict[str, str], AfterValidator(_check_headers)]
Labels = Annotated[dict[str, str], AfterValidator(_check_labels)]
IndexName = Annotated[str, Field(pattern=r"^[a-z0-9_][a-z0-9._-]{0,254}$")]


class SinkConfig(Section):
    """One receiver of alerts."""

    type: SinkType
    """How alerts get there."""
    format: Literal["ocsf", "incident", "ecs", "cef", "leef", "flat", "stix"] = "ocsf"
    """What an alert looks like: an OCSF 1.5.0 Detection Finding, or `tocsin.incident.v1` itself; ecs for elastic."""
    gets: Literal["incidents", "vetting"] = "incidents"
    """What is sent: incidents, or the requests for labels (`tocsin.vetting.v1`): a queue for who answers them."""
    address: Address | None = None
    """host:port of a syslog receiver."""
    facility: Facility = "local0"
    """Syslog facility."""
    url: Url | None = None
    """http(s)://host:port of a receiver that speaks HTTP; for a webhook with its path."""
    url_file: Path | None = None
    """File that holds a webhook's URL where that is a secret."""
    cafile: Path | None = None
    """Certificates of the authorities to believe (PEM); by default the system's."""
    certfile: Path | None = None
    """This client's certificate (PEM)."""
    keyfile: Path | None = None
    """Its private key (PEM)."""
    key_password_file: Path | None = None
    """File that holds the private key's password."""
    check_hostname: bool = True
    """Whether the receiver's certificate must name the host of ``address`` or ``url``."""
    token_file: Path | None = None
    """File that holds the token of Splunk's collector, or a bearer token."""
    username: str | None = Field(default=None, pattern=r"^[^:\s][^:\r\n]*$")
    """Who logs in (HTTP basic authentication)."""
    password_file: Path | None = None
    """File that holds the password."""
    api_key_file: Path | None = None
    """File that holds an Elasticsearch API key, encoded as Elasticsearch gives it."""
    index: IndexName | None = None
    """Splunk: the index, by default the token's. Elastic: data stream or index."""
    sourcetype: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9:._-]{0,127}$")
    """Splunk: the source type, by default tocsin:FORMAT."""
    acknowledge: bool = False
    """Splunk: whether to wait until the indexers have an alert; the token must allow it."""
    headers: Headers = Field(default_factory=dict)
    """Further headers of a webhook."""
    secret_file: Path | None = None
    """File that holds the secret that a webhook's messages are signed with."""
    template_file: Path | None = None
    """JSON with `${...}` in its texts: what a webhook sends in place of the alert itself."""
    kafka: KafkaConnection | None = None
    """Brokers, with the keys of the section `kafka`."""
    topic: Topic | None = None
    """Topic that alerts are sent to."""
    labels: Labels = Field(default_factory=dict)
    """Further labels of Alertmanager's alerts."""
    timeout_seconds: float = Field(default=10.0, gt=0, le=120)
    """How long one exchange over HTTP, or one batch to Kafka, may take as a whole."""
    path: Path | None = None
    """The file to append to."""
    rotate_bytes: int | None = Field(default=None, ge=65_536)
    """The file is renamed to FILE.1 before it grows beyond that; by default never."""
    rotate_keep: int = Field(default=5, ge=1, le=1000)
    """How many renamed files are kept."""
    max_message_bytes: int | None = Field(default=None, ge=4096)
    """A longer alert is shortened; by default 8096 for syslog over TCP or TLS, 4096 over UDP, 10000 for Splunk."""
    send_suspected: bool = True
    """Whether incidents are sent while labels are still being asked for; by default not to Alertmanager."""
    min_severity: int = Field(default=0, ge=0, le=10)
    """Incidents of less severity (0-10) are not sent."""
    alerts_per_minute: float = Field(default=60.0, gt=0)
    """Of more than that, the rest is counted and summed up; high severities have as many of their own."""
    burst: int = Field(default=30, ge=1)
    """How many may come at once."""
    spool_max_bytes: int = Field(default=67_108_864, ge=1_048_576)
    """How much may wait on disk for a receiver that is away."""

    @model_validator(mode="before")
    @classmethod
    def _as_the_type_has_it(cls, value: Any) -> Any:
        """Defaults that not every type shares."""
        if not isinstance(value, dict) or not isinstance(value.get("type"), str):
            return value
        idle = OF_INCIDENTS if value.get("gets") == "vetting" else frozenset[str]()
        return {key: one for key, one in DEFAULTS.get(value["type"], {}).items() if key not in idle} | value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for problem in (*self._missing(), *self._idle(), *self._pairs(), *self._unfit()):
            raise ValueError(problem)
        return self

    def _missing(self) -> Iterator[str]:
        if missing := [name for name in NEEDED.get(self.type, ()) if getattr(self, name) is None]:
            yield f"type {self.type} also needs {' and '.join(missing)}"
        if self.type == "webhook" and (self.url is None) == (self.url_file is None):
            yield "type webhook needs either url or url_file"

    def _idle(self) -> Iterator[str]:
        if idle := sorted((self.model_fields_set & OWN) - ALLOWED[self.type]):
            yield f"{', '.join(idle)} would not be used: type is {self.type}"
        if self.gets == "vetting" and (idle := sorted(self.model_fields_set & OF_INCIDENTS)):
            yield f"{', '.join(idle)} would not be used: it gets vetting requests, not incidents"
        if self.url is not None and not self.url.startswith("https:"):
            tls = {"cafile", "certfile", "keyfile", "key_password_file", "check_hostname"}
            if idle := sorted(self.model_fields_set & tls):
                yield f"{', '.join(idle)} would not be used: url does not start with https"
        if self.key_password_file is not None and self.keyfile is None:
            yield "key_password_file would not be used without keyfile"
        if "rotate_keep" in self.model_fields_set and self.rotate_bytes is None:
            yield "rotate_keep would not be used without rotate_bytes"

    def _pairs(self) -> Iterator[str]:
        if (self.certfile is None) != (self.keyfile is None):
            yield "certfile and keyfile go together"
        if (self.username is None) != (self.password_file is None):
            yield "username and password_file go together"
        if sum(secret is not None for secret in (self.token_file, self.api_key_file, self.password_file)) > 1:
            yield "choose one of token_file, api_key_file and password_file"

    def _unfit(self) -> Iterator[str]:
        if self.url is not None and self.type != "webhook":
            HttpAddress.of(self.url)
        if self.type == "alertmanager" and self.gets == "vetting":
            yield "type alertmanager gets incidents only: a request for a label is nothing that fires"
        elif self.type == "alertmanager" and self.format != "incident":
            yield "type alertmanager makes labels of format incident: leave format away"
        if self.type == "elastic" and self.format in {"cef", "leef"}:
            yield f"type elastic takes JSON, and format {self.format} is none: ecs is what Elastic's rules know"
        if self.type == "syslog_udp" and self.message_limit() > LONGEST_DATAGRAM:
            yield f"max_message_bytes must be at most {LONGEST_DATAGRAM} over UDP"

    def host_and_port(self) -> tuple[str, int]:
        """The receiver's address; only for syslog."""
        return split_address(self.address or "")

    def file(self) -> Path:
        """The file to append to; only for files."""
        return self.path or Path()

    def message_limit(self) -> int:
        """The greatest message in bytes."""
        return self.max_message_bytes or MESSAGE_BYTES[self.type]
