"""From the configuration's brokers to settings for a client; reads the files that hold secrets."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.settings.kafka_connection import KafkaConnection
from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.source import Role


def configured(kafka: KafkaConnection, topics: Mapping[str, Role], group_id: str) -> KafkaSettings:
    """How to get at ``kafka`` for these topics; `ConfigError` where a secret's file cannot be read."""
    login, tls = kafka.sasl_password(), kafka.ssl_password()
    return KafkaSettings(
        bootstrap_servers=kafka.bootstrap_servers,
        topics=topics,
        group_id=group_id,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=login.get_secret_value() if login else None,
        ssl_cafile=kafka.ssl_cafile,
        ssl_certfile=kafka.ssl_certfile,
        ssl_keyfile=kafka.ssl_keyfile,
        ssl_password=tls.get_secret_value() if tls else None,
        ssl_check_hostname=kafka.ssl_check_hostname,
    )
