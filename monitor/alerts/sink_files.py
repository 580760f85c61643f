"""Whether the files that a sink names can be used, before anything is sent."""

from __future__ import annotations

from typing import Final

from monitor.alerts.http_receiver import read_secret, read_url
from monitor.alerts.template import TemplateError, read_template
from monitor.alerts.tls import tls_context
from monitor.settings.kafka_connection import KafkaConnection
from monitor.settings.problems import ConfigError
from monitor.settings.sink_sections import SinkConfig

SECRETS: Final = ("token_file", "api_key_file", "secret_file")


def check_files(config: SinkConfig) -> None:
    """Read them as a sender would; `OSError` or `TemplateError` that says which cannot be used."""
    if config.type == "syslog_tls" or (config.url or "").startswith("https:"):
        tls_context(config)
    for field in SECRETS:
        if (path := getattr(config, field)) is not None:
            read_secret(field, path)
    if config.password_file is not None:
        read_secret("password_file", config.password_file, spaces=True)
    if config.url_file is not None:
        read_url(config.url_file)
    if config.template_file is not None:
        _check_template(config)
    if config.kafka is not None:
        _check_passwords(config.kafka)


def _check_passwords(kafka: KafkaConnection) -> None:
    try:
        kafka.sasl_password()
        kafka.ssl_password()
    except ConfigError as error:
        raise OSError("; ".join(problem.message for problem in error.problems)) from error


def _check_template(config: SinkConfig) -> None:
    if config.template_file is None:
        return
    try:
        read_template(config.template_file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, TemplateError) as error:
        raise TemplateError(f"template_file {config.template_file} cannot be used: {error}") from error
