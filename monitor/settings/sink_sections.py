"""The section `sinks`: where alerts go, each sink by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from monitor.settings.section import Address, Section, split_address

SinkName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
SinkType = Literal["syslog_tcp", "syslog_tls", "file"]
Facility = Literal[
    "authpriv", "audit", "alert", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"
]

SYSLOG_BYTES: Final = 8096
"""What rsyslog takes where nothing else is configured; RFC 5425 asks every receiver to take 8192."""
FILE_BYTES: Final = 1_048_576

_TLS: Final = frozenset({"cafile", "certfile", "keyfile", "key_password_file", "check_hostname"})
_SYSLOG: Final = frozenset({"address", "facility"})
_ALLOWED: Final = {"syslog_tcp": _SYSLOG, "syslog_tls": _SYSLOG | _TLS, "file": frozenset({"path"})}
_OF_INCIDENTS: Final = frozenset({"format", "send_suspected", "min_severity", "alerts_per_minute", "burst"})
_NEEDED: Final = {"syslog_tcp": "address", "syslog_tls": "address", "file": "path"}


class SinkConfig(Section):
    """One receiver of alerts."""

    type: SinkType
    """How alerts get there."""
    format: Literal["ocsf", "incident", "ecs", "cef", "leef", "flat", "stix"] = "ocsf"
    """What an alert looks like: an OCSF 1.5.0 Detection Finding, or `tocsin.incident.v1` itself."""
    gets: Literal["incidents", "vetting"] = "incidents"
    """What is sent: incidents, or the requests for labels (`tocsin.vetting.v1`): a queue for who answers them."""
    address: Address | None = None
    """host:port of a syslog receiver."""
    facility: Facility = "local0"
    """Syslog facility."""
    cafile: Path | None = None
    """Certificates of the authorities to believe (PEM); by default the system's."""
    certfile: Path | None = None
    """This client's certificate (PEM)."""
    keyfile: Path | None = None
    """Its private key (PEM)."""
    key_password_file: Path | None = None
    """File that holds the private key's password."""
    check_hostname: bool = True
    """Whether the receiver's certificate must name the host of ``address``."""
    path: Path | None = None
    """The file to append to."""
    max_message_bytes: int | None = Field(default=None, ge=4096)
    """A longer alert is shortened; by default 8096 for syslog, 1048576 for a file."""
    send_suspected: bool = True
    """Whether incidents are sent while labels are still being asked for (severity low, no alert)."""
    min_severity: int = Field(default=0, ge=0, le=10)
    """Incidents of less severity (0-10) are not sent."""
    alerts_per_minute: float = Field(default=60.0, gt=0)
    """Of more than that, the rest is counted and summed up; high severities have as many of their own."""
    burst: int = Field(default=30, ge=1)
    """How many may come at once."""
    spool_max_bytes: int = Field(default=67_108_864, ge=1_048_576)
    """How much may wait on disk for a receiver that is away."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        needed = _NEEDED[self.type]
        if getattr(self, needed) is None:
            raise ValueError(f"type {self.type} also needs {needed}")
        own = frozenset[str]().union(*_ALLOWED.values())
        if idle := sorted((self.model_fields_set & own) - _ALLOWED[self.type]):
            raise ValueError(f"{', '.join(idle)} would not be used: type is {self.type}")
        if (self.certfile is None) != (self.keyfile is None):
            raise ValueError("certfile and keyfile go together")
        if self.key_password_file is not None and self.keyfile is None:
            raise ValueError("key_password_file would not be used without keyfile")
        return self

    @model_validator(mode="after")
    def _queue(self) -> Self:
        if self.gets == "vetting" and (idle := sorted(self.model_fields_set & _OF_INCIDENTS)):
            raise ValueError(f"{', '.join(idle)} would not be used: it gets vetting requests, not incidents")
        return self

    def host_and_port(self) -> tuple[str, int]:
        """The receiver's address; only for syslog."""
        return split_address(self.address or "")

    def file(self) -> Path:
        """The file to append to; only for files."""
        return self.path or Path()

    def message_limit(self) -> int:
        """The greatest message in bytes."""
        return self.max_message_bytes or (FILE_BYTES if self.type == "file" else SYSLOG_BYTES)
