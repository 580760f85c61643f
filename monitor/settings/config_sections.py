"""The sections of the configuration file: keys, defaults and what each must satisfy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from monitor.settings.kafka_connection import KafkaConnection, read_secret
from monitor.settings.problems import ConfigError, Problem
from monitor.settings.response_sections import ResponseConfig, RetrainConfig, ServingConfig
from monitor.settings.section import Address, Paths, Section, Strings, Topic
from rollback.limits import MIB, BundleLimits

SHORTEST_TOKEN = 16


class KafkaConfig(KafkaConnection):
    """Where events and feedback come from."""

    inference_topic: Topic
    """Topic of `tocsin.inference.v1` events."""
    feedback_topic: Topic | None = None
    """Topic of feedback that anyone may write; nobody is trusted here."""
    trusted_feedback_topic: Topic | None = None
    """Topic that only trusted origins may write (guard it with the broker's access rules)."""
    audit_topic: Topic | None = None
    """Topic that the audit log's signed checkpoints are sent to; only Tocsin should be able to write to it."""
    group_id: str = Field(default="tocsin", min_length=1)
    """Consumer group."""
    group_instance_id: str | None = None
    """Name of this member for static membership: a restart does not move partitions."""
    start_at: Literal["earliest", "latest"] = "earliest"
    """Where to start in a partition for which neither checkpoint nor broker knows an offset."""
    max_message_bytes: int = Field(default=1_048_576, ge=1024)
    """A longer message is quarantined."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named = (self.inference_topic, self.feedback_topic, self.trusted_feedback_topic, self.audit_topic)
        topics = [topic for topic in named if topic]
        if len(set(topics)) != len(topics):
            raise ValueError("the inference, feedback, trusted feedback and audit topics must differ from each other")
        return self


class ModelConfig(Section):
    """How one model is watched."""

    trusted_origins: Strings = Field(default_factory=list)
    """Whose labels are believed, on the trusted feedback topic."""
    window_events: int = Field(default=1000, ge=10)
    """A window closes after so many events ..."""
    window_max_seconds: float = Field(default=900.0, gt=0)
    """... or when so much event time lies between its first and its newest event ..."""
    idle_seconds: float = Field(default=60.0, gt=0)
    """... or when nothing has come for so long."""
    label_horizon_windows: int = Field(default=100, ge=1)
    """A label is joined with an event at most so many windows back."""
    buffer: Path | None = None
    """Where the training buffer of a version lies; `{version}` stands for it."""
    allow_unsigned: Strings = Field(default_factory=list)
    """Versions that are believed without a valid signature; that they are is kept in the audit log."""
    vetting_budget: int = Field(default=16, ge=0)
    """Labels asked for per incident; 0 = never ask."""
    vetting_delay_windows: int = Field(default=1, ge=0)
    """In replay: how many windows an answer takes."""
    false_alarm_every: float = Field(default=1_000_000, gt=1)
    """Expected independent votes between false alarms, all detectors of the model together."""
    false_ask_every: float = Field(default=10_000, gt=1)
    """The same for asking a person for labels."""
    detectors: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Parameters by detector, where they are not the defaults."""
    serving: ServingConfig = ServingConfig()
    """The servers that serve it."""
    response: ResponseConfig = ResponseConfig()
    """When Tocsin acts by itself."""
    retrain: RetrainConfig = RetrainConfig()
    """How a poisoned version is retrained."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.false_ask_every > self.false_alarm_every:
            raise ValueError("false_ask_every must not exceed false_alarm_every: asking is the cheaper mistake")
        return self

    def buffer_of(self, version: str) -> Path | None:
        """Where the training buffer of ``version`` lies, None where none is configured."""
        if self.buffer is None:
            return None
        if version in {"", ".", ".."} or "/" in version:
            raise ValueError(f"version {version!r} is no file name")
        return Path(str(self.buffer).replace("{version}", version))


class HttpConfig(Section):
    """The listener for metrics and health."""

    listen: Address = "127.0.0.1:9464"
    """host:port; port 0 takes a free one."""


class AdminConfig(Section):
    """The kill switch over HTTP; without an address there is none."""

    listen: Address | None = None
    """host:port of `POST /v1/hold` and `POST /v1/resume`."""
    token_file: Path | None = None
    """File that holds the token which callers must have."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.listen is None) != (self.token_file is None):
            raise ValueError("listen and token_file need each other")
        return self

    def token(self) -> str:
        """The token, read now; `ConfigError` where the file cannot be read or holds too little."""
        secret = read_secret("admin.token_file", self.token_file)
        if secret is None or len(secret.get_secret_value()) < SHORTEST_TOKEN:
            why = f"{self.token_file} must hold at least {SHORTEST_TOKEN} characters"
            raise ConfigError(None, [Problem("admin.token_file", why)])
        return secret.get_secret_value()


class SigningConfig(Section):
    """Whose bundles are believed, and what ours are signed with."""

    trusted_keys: Paths = Field(default_factory=list)
    """Public keys (Ed25519, PEM); a bundle must be signed by one of them."""
    key_file: Path | None = None
    """Private key that signs the bundles made here."""


class BundlesConfig(Section):
    """How large the files of a model version may be: they are read into memory as a whole."""

    max_model_mib: int = Field(default=512, ge=1)
    """Largest `model.onnx`."""
    max_file_mib: int = Field(default=512, ge=1)
    """Largest other file."""

    def limits(self) -> BundleLimits:
        """As registries take them."""
        return BundleLimits(self.max_model_mib * MIB, self.max_file_mib * MIB)
