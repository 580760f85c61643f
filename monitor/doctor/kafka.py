"""Kafka: one connection, over which topics, rights, group and offsets are looked at, each by itself.

Metadata is asked for without the brokers making topics that are missing. (Asking for a group may make a fresh cluster
create its own internal topic of offsets, as the first consumer of any kind would.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from kafka.admin import KafkaAdminClient

from monitor.daemon import kafka_settings, vetting_topic
from monitor.doctor.check import Result, ok, problem
from monitor.doctor.kafka_group import check_group
from monitor.doctor.kafka_guard import check_guard
from monitor.doctor.kafka_offsets import check_lag, check_newest
from monitor.doctor.kafka_topics import check_audit_topic, check_topics, check_vetting
from monitor.settings.config import Config
from monitor.sources.kafka_connect import reason_of_failure, require_reachable
from monitor.sources.kafka_errors import translated
from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.source import PermanentSourceError, RetryableSourceError

SECONDS: Final = 60.0
CONNECT_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 15.0
LOGIN_TRIES: Final = 3
ADVICE: Final = "see kafka.bootstrap_servers, the login, TLS, and the network between here and there"


@dataclass(frozen=True, slots=True)
class _Part:
    subject: str
    look: Callable[[KafkaAdminClient], Iterator[Result]]


def check_kafka(config: Config) -> Iterator[Result]:
    """Everything about Kafka; nothing where the configuration does not name it."""
    if config.kafka is None:
        return
    chosen = kafka_settings(config.kafka)
    settings = replace(chosen, connect_timeout=CONNECT_SECONDS, request_timeout=REQUEST_SECONDS)
    try:
        admin = _connect(settings, LOGIN_TRIES if settings.sasl_mechanism else 1)
    except (RetryableSourceError, PermanentSourceError) as error:
        yield problem("kafka", str(error), ADVICE)
        return
    try:
        yield ok("kafka", f"{settings.address} answers ({settings.security_protocol})")
        for part in _parts(config, settings):
            yield from _guarded(part, admin, settings)
    finally:
        admin.close()


def _connect(settings: KafkaSettings, tries: int) -> KafkaAdminClient:
    """A login is tried again where the connection was cut: the reason may have come together with the cut.

    kafka-python drops what it reads in the same breath as the end of the connection.
    """
    require_reachable(settings)
    try:
        with translated(settings, "connecting"), reason_of_failure():
            return KafkaAdminClient(**settings.connection())
    except RetryableSourceError:
        if tries > 1:
            return _connect(settings, tries - 1)
        raise


def _parts(config: Config, settings: KafkaSettings) -> Iterator[_Part]:
    topics = list(settings.topics)
    yield _Part("topics", lambda admin: check_topics(admin, settings.topics))
    if config.kafka is not None:
        vetting = vetting_topic(config.kafka)
        yield _Part("vetting", lambda admin: check_vetting(admin, vetting))
        checkpoints = config.kafka.audit_topic
        if checkpoints is not None:
            yield _Part("audit topic", lambda admin: check_audit_topic(admin, checkpoints))
    yield _Part("group", lambda admin: check_group(admin, settings, config.state_dir))
    yield _Part("lag", lambda admin: check_lag(admin, settings.group_id, topics, settings.start_at))
    yield _Part("clock", lambda admin: check_newest(admin, topics))
    for topic, role in settings.topics.items():
        if role == "trusted":
            yield _Part("trusted labels", lambda admin, topic=topic: check_guard(admin, topic, settings))  # type: ignore[misc]  # binds the loop's variable


def _guarded(part: _Part, admin: KafkaAdminClient, settings: KafkaSettings) -> Iterator[Result]:
    try:
        with translated(settings, f"asking about the {part.subject}"):
            yield from part.look(admin)
    except (RetryableSourceError, PermanentSourceError) as error:
        yield problem(part.subject, str(error), ADVICE)
