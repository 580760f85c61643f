"""How to get at Kafka's brokers: the same keys wherever the configuration names some."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from monitor.settings.problems import ConfigError, Problem
from monitor.settings.section import Addresses, Section
from monitor.settings.strict_yaml import reason

_LOGIN = {"sasl_mechanism", "sasl_username", "sasl_password_file"}
_TLS = {"ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password_file"}


class KafkaConnection(Section):
    """Brokers, and how to speak to them."""

    bootstrap_servers: Annotated[Addresses, Field(min_length=1)]
    """Brokers to start from, each host:port."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to speak to the brokers."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How to log in."""
    sasl_username: str | None = None
    """Who logs in."""
    sasl_password_file: Path | None = None
    """File that holds the password."""
    ssl_cafile: Path | None = None
    """Certificates of the authorities to believe (PEM); by default the system's."""
    ssl_certfile: Path | None = None
    """This client's certificate (PEM)."""
    ssl_keyfile: Path | None = None
    """Its private key (PEM)."""
    ssl_password_file: Path | None = None
    """File that holds the private key's password."""
    ssl_check_hostname: bool = True
    """Whether the broker's certificate must name the broker's host."""

    @model_validator(mode="after")
    def _can_connect(self) -> Self:
        login = {name for name in _LOGIN if getattr(self, name) is not None}
        tls = {name for name in _TLS if getattr(self, name) is not None}
        needed = _LOGIN if self.security_protocol.startswith("SASL_") else set()
        allowed = needed | (_TLS if self.security_protocol.endswith("SSL") else set())
        if missing := needed - login:
            raise ValueError(f"security_protocol {self.security_protocol} also needs {', '.join(sorted(missing))}")
        if idle := (login | tls) - allowed:
            said = ", ".join(sorted(idle))
            raise ValueError(f"{said} would not be used: security_protocol is {self.security_protocol}")
        return self

    def sasl_password(self) -> SecretStr | None:
        """The password, read now; `ConfigError` where the file cannot be read."""
        return read_secret("kafka.sasl_password_file", self.sasl_password_file)

    def ssl_password(self) -> SecretStr | None:
        """The private key's password, read now; `ConfigError` where the file cannot be read."""
        return read_secret("kafka.ssl_password_file", self.ssl_password_file)


def read_secret(field: str, path: Path | None) -> SecretStr | None:
    """What the file holds; None where none is named. `ConfigError` about ``field`` where it cannot be read."""
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(None, [Problem(field, f"{path} cannot be read: {reason(error)}")]) from error
    if not text:
        raise ConfigError(None, [Problem(field, f"{path} is empty")])
    return SecretStr(text)
