"""The watchdog warns of a partition that stands still, and of no other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitor.sources.kafka_watchdog import Watchdog
from monitor.sources.source import Partition

A, B = Partition("events", 0), Partition("events", 1)


def test_a_partition_that_stands_still_before_the_end_is_found_once_a_patience() -> None:
    watchdog = Watchdog(60.0)
    found = [watchdog.stalled({A: 5, B: now}, {A: 9, B: 1000}, float(now)) for now in range(0, 140, 10)]
    assert [i * 10 for i, partitions in enumerate(found) if partitions] == [60, 120]
    assert found[6] == [A]


def test_a_partition_that_has_nothing_to_come_is_not_stalled() -> None:
    watchdog = Watchdog(60.0)
    assert [watchdog.stalled({A: 5}, {A: 5}, float(now)) for now in range(0, 300, 10)] == [[]] * 30


def test_patience_begins_when_there_is_something_to_come() -> None:
    watchdog = Watchdog(60.0)
    for now in range(0, 100, 10):
        watchdog.stalled({A: 5}, {A: 5}, float(now))
    found = [watchdog.stalled({A: 5}, {A: 6}, float(now)) for now in range(100, 160, 10)]
    assert found == [[], [], [], [], [], [A]]


def test_a_pause_of_ours_counts_for_nothing() -> None:
    watchdog = Watchdog(60.0)
    watchdog.stalled({A: 5}, {A: 9}, 0.0)
    assert watchdog.stalled({A: 5}, {A: 9}, 1000.0) == []


def test_a_broker_that_does_not_say_its_end_is_no_reason() -> None:
    watchdog = Watchdog(60.0)
    assert [watchdog.stalled({A: 5}, {}, float(now)) for now in range(0, 300, 10)] == [[]] * 30


@given(st.lists(st.integers(1, 100), min_size=2))
def test_a_partition_that_moves_is_never_stalled(steps: list[int]) -> None:
    watchdog, position = Watchdog(1.0), 0
    for now, step in enumerate(steps):
        position += step
        assert watchdog.stalled({A: position}, {A: 10**9}, now * 0.9) == []
