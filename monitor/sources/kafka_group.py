"""Who else is in our consumer group: until work can be shared, nobody may be."""

from __future__ import annotations

import time
from collections.abc import Callable

from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient
from kafka.coordinator.base import MemberState

from monitor.sources.kafka_connect import require_reachable
from monitor.sources.kafka_errors import translated
from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.source import PermanentSourceError

ASK_EVERY = 1.0


def other_members(settings: KafkaSettings, member_id: str = "") -> list[str]:
    """The members of the group that are not ``member_id``, described for a person.

    A member with our ``group_instance_id`` is our own former self: the broker gives us its place when we join.
    Raises `RetryableSourceError` or `PermanentSourceError`.
    """
    require_reachable(settings)
    with translated(settings, "asking who is in the group"):
        admin = KafkaAdminClient(**settings.connection())
        try:
            members = admin.describe_groups([settings.group_id])[settings.group_id]["members"]
        finally:
            admin.close()
    return [
        f"{member['group_instance_id'] or member['member_id']} at {member['client_host'].lstrip('/')}"
        for member in members
        if member["member_id"] != member_id and not is_former_self(settings, member["group_instance_id"])
    ]


def require_empty_group(
    settings: KafkaSettings,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Call before the first poll; raises `PermanentSourceError` naming whoever else is in the group.

    A process of ours that was killed stays a member until its session ends, so a group that is not empty is asked
    again for one session and a little more: a living member sends heartbeats and stays.
    """
    deadline = clock() + settings.session_timeout * 1.2 + ASK_EVERY
    while others := other_members(settings):
        if clock() >= deadline:
            raise PermanentSourceError(
                f"consumer group {settings.group_id} at {settings.address} has another member: {'; '.join(others)}. "
                "One process must see every event of a model: stop the other, or give this one a group_id of its own"
            )
        sleep(ASK_EVERY)


def is_former_self(settings: KafkaSettings, instance_id: str | None) -> bool:
    """Whether a member has the place that we will take."""
    return settings.group_instance_id is not None and instance_id == settings.group_instance_id


def joining(consumer: KafkaConsumer) -> bool:
    """Whether a join of the group has begun and not ended; sees to it that it does end.

    kafka-python 3.0.12 forgets a join that outlasts a poll when new partitions were its reason: it takes the group for
    joined, owns nothing and sends no heartbeats, for ever. Asking for a join again makes it go on with that one.
    """
    if consumer.group_metadata().state is not MemberState.REBALANCING:
        return False
    consumer._coordinator.request_rejoin()  # noqa: SLF001 - there is no public way to ask for it
    return True
