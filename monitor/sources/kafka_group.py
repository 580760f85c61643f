"""Who else is in our consumer group: until work can be shared, nobody may be."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import structlog
from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient
from kafka.coordinator.base import MemberState

from monitor.sources.kafka_connect import require_reachable
from monitor.sources.kafka_errors import translated
from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.source import Partition, PermanentSourceError

log = structlog.get_logger()

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
    deadline = clock() + patience(settings)
    while others := other_members(settings):
        if clock() >= deadline:
            raise _shared(settings, others)
        sleep(ASK_EVERY)


class SoleMember:
    """Refuses to go on where somebody joins the group later, or joined it at the same moment."""

    def __init__(
        self, settings: KafkaSettings, others: Callable[[], Sequence[str]], clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._others = others
        self._clock = clock
        self._partitions: Collection[Partition] = frozenset()
        self._shared_since: float | None = None

    def check(self, partitions: Collection[Partition]) -> None:
        """Ask the broker whenever our partitions change, and as long as there is somebody else.

        Raises `PermanentSourceError` where they are still there after a session, as a member of ours that was killed
        would not be.
        """
        if partitions == self._partitions and self._shared_since is None:
            return
        others, now = self._others(), self._clock()
        self._partitions = partitions
        if not others:
            self._shared_since = None
        elif self._shared_since is None:
            self._shared_since = now
            log.warning("somebody else is in the consumer group", group=self._settings.group_id, members=list(others))
        elif now - self._shared_since >= patience(self._settings):
            raise _shared(self._settings, others)


def patience(settings: KafkaSettings) -> float:
    """Seconds after which a member that was killed is surely no member any more."""
    return settings.session_timeout * 1.2 + ASK_EVERY


def _shared(settings: KafkaSettings, others: Sequence[str]) -> PermanentSourceError:
    return PermanentSourceError(
        f"consumer group {settings.group_id} at {settings.address} has another member: {'; '.join(others)}. "
        "One process must see every event of a model: stop the other, or give this one a group_id of its own"
    )


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
