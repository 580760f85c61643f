"""kafka-python's exceptions as a source's: what to try again, and what a person must mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kafka import errors

from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.source import PermanentSourceError, RetryableSourceError

ADVICE: dict[type[errors.KafkaError], str] = {
    errors.SaslAuthenticationFailedError: "check the user name, the password and sasl_mechanism",
    errors.AuthorizationError: "grant Read on the topics and on the group",
    errors.KafkaConfigurationError: "correct the connection settings",
    errors.FencedInstanceIdError: "another process runs with the same group_instance_id: give each its own",
    errors.InconsistentGroupProtocolError: "another application uses this group_id: choose one of your own",
    errors.InvalidSessionTimeoutError: "the broker's group.min/max.session.timeout.ms do not allow session_timeout",
    errors.UnsupportedCodecError: "install the compression library it names",
}
"""Errors that stay until somebody mends their cause, with what to do."""


@contextmanager
def translated(settings: KafkaSettings, doing: str) -> Iterator[None]:
    """Raises what kafka-python raises within as `PermanentSourceError` or `RetryableSourceError`, saying where."""
    try:
        yield
    except errors.KafkaError as error:
        raise translate(error, settings, doing) from error


def translate(error: errors.KafkaError, settings: KafkaSettings, doing: str) -> Exception:
    """The source error that says the same as ``error``, where it happened, and what to do."""
    what = f"Kafka at {settings.address}, group {settings.group_id}, {doing}: {type(error).__name__}: {error}"
    for permanent, advice in ADVICE.items():
        if isinstance(error, permanent):
            return PermanentSourceError(f"{what}; {advice}")
    checks = "check that the brokers run, their address and the network, and TLS settings"
    if settings.sasl_mechanism is not None and isinstance(error, errors.KafkaConnectionError):
        checks += ", and the login: a broker that refuses one cuts the connection"
    return RetryableSourceError(f"{what}; {checks}")
