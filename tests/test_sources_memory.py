"""MemorySource: what a real source does at the worst moment, on demand."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.sources.memory import MemoryLog, MemorySource
from monitor.sources.source import Committed, Partition

EVENTS, LABELS = Partition("events", 0), Partition("labels", 0)


@pytest.fixture
def log() -> MemoryLog:
    made = MemoryLog({"events": "inference", "labels": "feedback"})
    made.extend("events", [b"e0", b"e1", b"e2"])
    made.extend("labels", [b"l0"])
    return made


def places(source: MemorySource, max_messages: int = 100) -> list[tuple[str, int]]:
    return [(c.partition.topic, offset) for c in source.poll(max_messages, 0.0) for offset in c.offsets]


def test_a_topic_without_a_role_takes_no_messages(log: MemoryLog) -> None:
    with pytest.raises(ValueError, match="'other' has no role"):
        log.append("other", b"")


def test_the_limit_holds_over_all_partitions(log: MemoryLog, listener: Any) -> None:
    source = MemorySource(log, listener)
    assert places(source, 2) == [("events", 0), ("events", 1)]
    assert places(source, 2) == [("events", 2), ("labels", 0)]


def test_an_abort_comes_after_so_many_messages_and_once(log: MemoryLog, listener: Any) -> None:
    source = MemorySource(log, listener)
    source.abort_after(2, OSError("power cut"))
    assert places(source) == [("events", 0), ("events", 1)]
    with pytest.raises(OSError, match="power cut"):
        source.poll(100, 0.0)
    assert places(source) == [("events", 2), ("labels", 0)]


def test_after_a_crash_a_new_source_goes_on_at_the_commit(log: MemoryLog, listener: Any) -> None:
    first = MemorySource(log, listener)
    first.poll(100, 0.0)
    first.commit({EVENTS: 2}, "checkpoint")
    assert places(MemorySource(log, listener)) == [("events", 2), ("labels", 0)]
    assert listener.assigned == {EVENTS: Committed(2, "checkpoint"), LABELS: None}


def test_a_paused_partition_waits(log: MemoryLog, listener: Any) -> None:
    source = MemorySource(log, listener)
    source.pause([EVENTS])
    assert places(source) == [("labels", 0)]
    source.resume()
    assert places(source) == [("events", 0), ("events", 1), ("events", 2)]


def test_a_revoked_partition_comes_back_where_it_was_committed(log: MemoryLog) -> None:
    class Committing:
        def on_assigned(self, _partitions: Any) -> Any:
            return {}

        def on_positioned(self, _offsets: Any) -> None:
            """Nothing is saved."""

        def on_revoked(self, partitions: Any) -> None:
            source.commit(dict.fromkeys(partitions, 1), "revoked")

    source = MemorySource(log, Committing())
    assert len(places(source)) == 4
    source.revoke([EVENTS])
    assert places(source) == [("events", 1), ("events", 2)]


def test_a_lost_partition_comes_back_from_its_last_commit(log: MemoryLog, listener: Any) -> None:
    source = MemorySource(log, listener)
    places(source)
    source.lose([EVENTS])
    assert listener.lost == [EVENTS]
    assert places(source) == [("events", 0), ("events", 1), ("events", 2)]


def test_a_complete_log_finishes_when_it_was_read(log: MemoryLog, listener: Any) -> None:
    source = MemorySource(log, listener, ends=True)
    assert not source.finished
    places(source)
    assert source.finished


def test_a_log_that_goes_on_never_finishes(log: MemoryLog, listener: Any) -> None:
    source = MemorySource(log, listener)
    places(source)
    assert not source.finished
    log.append("labels", b"l1")
    assert places(source) == [("labels", 1)]


def test_a_new_partition_is_announced_when_it_appears(log: MemoryLog, listener: Any) -> None:
    source = MemorySource(log, listener)
    places(source)
    log.append("events", b"other", number=1)
    assert places(source) == [("events", 0)]
    assert listener.assigned[Partition("events", 1)] is None


def test_a_closed_source_says_so(log: MemoryLog, listener: Any) -> None:
    source = MemorySource(log, listener)
    source.close()
    with pytest.raises(ValueError, match="closed"):
        source.poll(1, 0.0)
