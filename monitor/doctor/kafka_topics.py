"""Topics: whether they exist, have leaders, and may be read or written by us."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from kafka import errors
from kafka.admin import KafkaAdminClient

from monitor.doctor.check import Result, ok, problem, warning

MISSING: Final = errors.UnknownTopicOrPartitionError.errno
HIDDEN: Final = errors.TopicAuthorizationFailedError.errno


def check_topics(admin: KafkaAdminClient, topics: Mapping[str, str]) -> Iterator[Result]:
    """Every topic that is read, by its role."""
    for found in admin.describe_topics(list(topics)):
        yield _read_topic(found, topics[found["name"]])


def check_vetting(admin: KafkaAdminClient, topic: str) -> Iterator[Result]:
    """The topic that requests for labels are written to."""
    meanwhile = "requests for labels reach people by `tocsin vet list` only"
    yield _written(admin, "vetting", topic, "requests for labels", meanwhile)


def check_audit_topic(admin: KafkaAdminClient, topic: str) -> Iterator[Result]:
    """The topic that the audit log's checkpoints are written to."""
    meanwhile = "they are in incidents and in state_dir only"
    yield _written(admin, "audit topic", topic, "checkpoints of the audit log", meanwhile)


def _written(admin: KafkaAdminClient, subject: str, topic: str, what: str, meanwhile: str) -> Result:
    (found,) = admin.describe_topics([topic])
    if found["error_code"] == MISSING:
        return warning(subject, f"topic {topic} does not exist: {meanwhile}", f"create topic {topic}")
    if found["error_code"] or not may(found, "WRITE"):
        return warning(subject, f"we may not write topic {topic}: {meanwhile}", f"allow Write on topic {topic}")
    return ok(subject, f"{what} can be written to topic {topic}")


def may(found: Mapping[str, Any], operation: str) -> bool:
    """Whether we have a right, by what the broker says; True where it is too old to say."""
    allowed = found.get("authorized_operations")
    return not allowed or operation in allowed


def _read_topic(found: Mapping[str, Any], role: str) -> Result:
    topic, code = found["name"], found["error_code"]
    subject = f"topic {topic}"
    if code == MISSING:
        return problem(subject, f"does not exist ({role})", f"create it, or correct kafka.{_key(role)}")
    if code == HIDDEN or (not code and not may(found, "READ")):
        return problem(subject, f"we may not read it ({role})", f"allow Read and Describe on topic {topic}")
    if code:
        said = f"{errors.for_code(code).__name__} ({role})"
        return problem(subject, said, "see the brokers' logs")
    without = [p["partition_index"] for p in found["partitions"] if p["error_code"] or p["leader_id"] < 0]
    count = len(found["partitions"])
    if without:
        return problem(subject, f"{len(without)} of {count} partitions have no leader ({role})", "see the brokers")
    return ok(subject, f"{count} partition{'s' * (count != 1)}, may be read ({role})")


def _key(role: str) -> str:
    return {"inference": "inference_topic", "feedback": "feedback_topic"}.get(role, "trusted_feedback_topic")
