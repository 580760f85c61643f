"""The consumer group: who is in it besides us, and whether we may join."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from kafka.admin import KafkaAdminClient
from kafka.errors import CoordinatorNotAvailableError, GroupAuthorizationFailedError

from monitor.doctor.check import Result, ok, problem
from monitor.doctor.kafka_topics import may
from monitor.doctor.state import holder_of
from monitor.sources.kafka_group import is_former_self
from monitor.sources.kafka_settings import KafkaSettings

SUBJECT = "group"
TRIES: Final = 20
AGAIN_SECONDS: Final = 0.5
"""A cluster that no consumer has used yet takes some seconds for its first group."""


def check_group(admin: KafkaAdminClient, settings: KafkaSettings, state_dir: Path) -> Iterator[Result]:
    """One process must see every event of a model: nobody else may be in the group."""
    name = settings.group_id
    allow = f"allow Read on group {name}"
    try:
        found = _described(admin, name)
    except GroupAuthorizationFailedError:
        yield problem(SUBJECT, f"we may not see group {name}", allow)
        return
    if not may(found, "READ"):
        yield problem(SUBJECT, f"we may see group {name}, but not join it", allow)
        return
    former = [m for m in found["members"] if is_former_self(settings, m["group_instance_id"])]
    others = [m for m in found["members"] if m not in former]
    said = "; ".join(
        f"{m['group_instance_id'] or m['member_id']} at {m['client_host'].lstrip('/')}" for m in found["members"]
    )
    holder = holder_of(state_dir)
    if not found["members"]:
        yield ok(SUBJECT, f"nobody is in group {name}")
    elif holder is not None or not others:
        whose = (
            f"process {holder} here" if holder is not None else f"named {settings.group_instance_id}, as ours will be"
        )
        yield ok(SUBJECT, f"in group {name}: {said} ({whose})")
    else:
        yield problem(SUBJECT, f"group {name} has another member: {said}", "stop it, or set kafka.group_id to another")


def _described(admin: KafkaAdminClient, name: str) -> dict[str, Any]:
    for _ in range(TRIES - 1):
        try:
            return dict(admin.describe_groups([name])[name])
        except CoordinatorNotAvailableError:
            time.sleep(AGAIN_SECONDS)
    return dict(admin.describe_groups([name])[name])
