"""What is needed to read from Kafka, and how it reads to kafka-python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from monitor.sources.source import Role


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where and how to read. Times in seconds, sizes in bytes; passwords are values, not paths.

    ``start_at`` decides where a partition starts that neither the listener nor the broker knows, and where reading
    goes on when the stored offset no longer exists. With ``group_instance_id`` a restart takes the old member's place
    at once; without it the broker waits for ``session_timeout`` before it gives up a member that was killed.

    A message larger than ``fetch_bytes`` is delivered all the same (the broker sends at least one batch), as long as
    it is not larger than ``receive_bytes``.
    """

    bootstrap_servers: Sequence[str]
    topics: Mapping[str, Role]
    group_id: str
    start_at: Literal["earliest", "latest"] = "earliest"
    group_instance_id: str | None = None
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_password: str | None = field(default=None, repr=False)
    ssl_check_hostname: bool = True
    fetch_bytes: int = 50 * 2**20
    partition_fetch_bytes: int = 2**20
    receive_bytes: int = 512 * 2**20
    connect_timeout: float = 10.0
    request_timeout: float = 30.0
    close_timeout: float = 5.0
    session_timeout: float = 10.0
    metadata_interval: float = 5.0
    stalled_after: float = 60.0

    def __post_init__(self) -> None:
        if not self.bootstrap_servers or not self.topics or not self.group_id:
            raise ValueError("bootstrap_servers, topics and group_id must not be empty")
        if self.start_at not in ("earliest", "latest"):
            raise ValueError(f"start_at must be 'earliest' or 'latest', not {self.start_at!r}")
        if self.security_protocol.startswith("SASL") and self.sasl_mechanism is None:
            raise ValueError(f"security_protocol {self.security_protocol} needs a sasl_mechanism")

    @property
    def address(self) -> str:
        """The servers, for messages."""
        return ", ".join(self.bootstrap_servers)

    def connection(self) -> dict[str, Any]:
        """Options that every client of the cluster needs."""
        return {
            "bootstrap_servers": list(self.bootstrap_servers),
            "client_id": "tocsin",
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
            "ssl_cafile": None if self.ssl_cafile is None else str(self.ssl_cafile),
            "ssl_certfile": None if self.ssl_certfile is None else str(self.ssl_certfile),
            "ssl_keyfile": None if self.ssl_keyfile is None else str(self.ssl_keyfile),
            "ssl_password": self.ssl_password,
            "ssl_check_hostname": self.ssl_check_hostname,
            "request_timeout_ms": milliseconds(self.request_timeout),
            "metadata_max_age_ms": milliseconds(self.metadata_interval),
            "bootstrap_timeout_ms": milliseconds(self.connect_timeout),
            "reconnect_backoff_max_ms": 2000,
        }

    def consumer(self) -> dict[str, Any]:
        """Options of the consumer: it commits and resets nothing by itself."""
        return {
            **self.connection(),
            "group_id": self.group_id,
            "group_instance_id": self.group_instance_id,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "allow_auto_create_topics": False,
            "partition_assignment_strategy": [CooperativeStickyAssignor],
            "session_timeout_ms": milliseconds(self.session_timeout),
            "heartbeat_interval_ms": milliseconds(self.session_timeout / 4),
            "fetch_max_bytes": self.fetch_bytes,
            "max_partition_fetch_bytes": self.partition_fetch_bytes,
            "receive_message_max_bytes": self.receive_bytes,
            "metrics_enabled": False,
        }


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, at least one."""
    return max(1, round(seconds * 1000))
