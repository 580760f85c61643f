"""The trusted feedback topic: whoever may write there passes for a trusted origin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import ClusterAuthorizationFailedError, SecurityDisabledError

from monitor.doctor.check import Result, ok, warning
from monitor.doctor.kafka_topics import may
from monitor.sources.kafka_settings import KafkaSettings

SUBJECT = "trusted labels"
EVERYBODY: Final = frozenset({"User:*", "User:ANONYMOUS"})
WRITING: Final = frozenset({ACLOperation.WRITE, ACLOperation.ALL})


def check_guard(admin: KafkaAdminClient, topic: str, settings: KafkaSettings) -> Iterator[Result]:
    """Who may write the topic, as far as the brokers tell us."""
    advice = f"allow Write on topic {topic} to those who label, and to nobody else"
    (found,) = admin.describe_topics([topic])
    if found["error_code"]:  # the topic's own check says so
        return
    try:
        rules, _ = admin.describe_acls(_rules_of(topic))
    except SecurityDisabledError:
        said = f"the brokers have no access rules: anybody may write {topic}, and be believed"
        yield warning(SUBJECT, said, f"switch on the brokers' authorizer; {advice}")
        return
    except ClusterAuthorizationFailedError:
        if anonymous(settings) and may(found, "WRITE"):
            yield warning(SUBJECT, f"we may write {topic} without saying who we are: so may anybody", advice)
        else:
            yield ok(SUBJECT, f"who may write {topic} is not told to us (that takes Describe on the cluster)")
        return
    who = writers(rules)
    if not who:
        said = f"no rule says who may write {topic}: nobody but super users, or everybody, as the brokers are set up"
        yield warning(SUBJECT, said, advice)
    elif EVERYBODY.intersection(who):
        yield warning(SUBJECT, f"anybody may write {topic}, and be believed ({', '.join(who)})", advice)
    else:
        yield ok(SUBJECT, f"besides super users, {topic} may be written by {', '.join(who)}")


def writers(rules: Sequence[ACL]) -> list[str]:
    """Who is allowed to write, in alphabetical order."""
    allowed = (rule for rule in rules if rule.permission_type == ACLPermissionType.ALLOW and rule.operation in WRITING)
    return sorted({rule.principal for rule in allowed})


def anonymous(settings: KafkaSettings) -> bool:
    """Whether we do not say who we are: neither login nor certificate."""
    return not settings.security_protocol.startswith("SASL") and settings.ssl_certfile is None


def _rules_of(topic: str) -> ACLFilter:
    """Also those of `*` and of prefixes."""
    pattern = ResourcePatternFilter(ResourceType.TOPIC, topic, ACLResourcePatternType.MATCH)
    return ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, pattern)
