"""How far behind the events we are, and whether the newest is from the future."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.errors import GroupAuthorizationFailedError

from monitor.doctor.check import Result, ok, warning

BEARABLE: Final = 60.0
"""Seconds that a producer's clock may be ahead."""


def check_lag(admin: KafkaAdminClient, group: str, topics: Sequence[str], start_at: str) -> Iterator[Result]:
    """For each topic: what is still to be read, and what was deleted before it was."""
    try:
        committed = {p: found.offset for p, found in admin.list_group_offsets({group: None})[group].items()}
    except GroupAuthorizationFailedError:  # the group's own check says so
        return
    for topic, partitions in readable(admin, topics).items():
        first = _offsets(admin, partitions, OffsetSpec.EARLIEST)
        end = _offsets(admin, partitions, OffsetSpec.LATEST)
        known = {p: committed[p] for p in partitions if committed.get(p, -1) >= 0}
        lost = sum(max(0, first[p] - offset) for p, offset in known.items())
        start = {p: known.get(p, first[p] if start_at == "earliest" else end[p]) for p in partitions}
        lag = sum(max(0, end[p] - max(start[p], first[p])) for p in partitions)
        subject = f"lag {topic}"
        if lost:
            said = f"{lost:,} messages were deleted before they were read; {lag:,} are still to be read"
            yield warning(
                subject, said, "keep them for longer (retention.ms), or give the watcher more room to keep up"
            )
        elif known:
            yield ok(subject, f"{lag:,} messages to be read")
        else:
            yield ok(subject, f"nothing read yet; kafka.start_at: {start_at} leaves {lag:,} messages to be read")


def check_newest(
    admin: KafkaAdminClient, topics: Sequence[str], clock: Callable[[], float] = time.time
) -> Iterator[Result]:
    """Whether a message is from the future, by the time that its producer (or the broker) put on it."""
    for topic, partitions in readable(admin, topics).items():
        found = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.MAX_TIMESTAMP))
        ahead = max((each.timestamp for each in found.values()), default=-1) / 1000 - clock()
        if ahead > BEARABLE:
            yield warning(
                "clock",
                f"the newest message of topic {topic} is from {ahead:.0f} s ahead of this machine's clock",
                "let a time service set the clocks of producers, brokers and this machine",
            )


def readable(admin: KafkaAdminClient, topics: Sequence[str]) -> dict[str, list[TopicPartition]]:
    """The partitions of those topics that we can see."""
    found = admin.describe_topics(list(topics))
    return {
        topic["name"]: [TopicPartition(topic["name"], p["partition_index"]) for p in topic["partitions"]]
        for topic in found
        if not topic["error_code"] and all(p["leader_id"] >= 0 for p in topic["partitions"])
    }


def _offsets(
    admin: KafkaAdminClient, partitions: Sequence[TopicPartition], which: OffsetSpec
) -> Mapping[TopicPartition, int]:
    return {p: each.offset for p, each in admin.list_partition_offsets(dict.fromkeys(partitions, which)).items()}
