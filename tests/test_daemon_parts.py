"""Parts of the daemon: outlets that hold nothing up, one member a group, an interrupted rollback, the hash key."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from daemon_process import wait_until

from monitor.daemon import hash_key
from monitor.line_queue import WAITING
from monitor.outlet_ends import DescriptorEnd
from monitor.outlets import Background, UndeliverableError
from monitor.sources.kafka_group import SoleMember, patience
from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.source import Partition, PermanentSourceError
from rollback.manifest import Draft, FeatureSpec
from rollback.registry.file import FileRegistry
from rollback.response.steps import ACTOR
from rollback.signing.keys import Keys, new_signing_key

SETTINGS = KafkaSettings(["localhost:9092"], {"events": "inference"}, "group")


class Sink:
    """Takes lines, unless it is told to raise."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.lines: list[bytes] = []
        self.dropped = 0
        self.open = threading.Event()
        self.open.set()

    def __call__(self, line: bytes) -> None:
        self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.lines.append(line)

    def drop(self, count: int) -> None:
        self.dropped += count


def test_lines_are_handed_on_in_order_and_all_before_it_closes() -> None:
    sink = Sink()
    outlet = Background("sink", sink, sink.drop)
    for i in range(100):
        outlet.append(b"%d" % i)
    outlet.close()
    assert sink.lines == [b"%d" % i for i in range(100)]
    assert sink.dropped == 0


def test_a_line_that_cannot_be_sent_now_is_sent_again_whatever_the_reason() -> None:
    sink = Sink(OSError("away"), ZeroDivisionError("a bug"))
    outlet = Background("sink", sink, sink.drop, retry_seconds=0.01)
    outlet.append(b"a")
    wait_until(lambda: sink.lines, "the line")
    outlet.close()
    assert (sink.lines, sink.dropped) == ([b"a"], 0)


def test_a_line_that_is_never_taken_is_dropped_and_counted_and_the_next_one_goes() -> None:
    sink = Sink(UndeliverableError("too large"))
    outlet = Background("sink", sink, sink.drop)
    outlet.append(b"a")
    outlet.append(b"b")
    outlet.close()
    assert (sink.lines, sink.dropped) == ([b"b"], 1)


def test_a_reader_that_stands_still_holds_nothing_up_and_what_is_too_much_is_counted() -> None:
    sink = Sink()
    sink.open.clear()
    outlet = Background("sink", sink, sink.drop)
    for i in range(WAITING + 51):
        outlet.append(b"%d" % i)
    assert sink.dropped in (50, 51)  # one may be on its way
    outlet.close(patience=0.01)
    sink.open.set()


def test_leaving_while_a_reader_is_away_does_not_wait_for_it() -> None:
    sink = Sink(*[OSError("away")] * 1000)
    outlet = Background("sink", sink, sink.drop, retry_seconds=60.0)
    outlet.append(b"a")
    outlet.append(b"b")
    before = time.monotonic()
    outlet.close()
    assert time.monotonic() - before < 5
    assert sink.dropped == 2


def test_a_descriptor_gets_whole_lines_until_its_reader_has_gone() -> None:
    reading, writing = os.pipe()
    end = DescriptorEnd(writing)
    end(b"first")
    assert os.read(reading, 100) == b"first\n"
    os.close(reading)
    for _ in range(2):
        with pytest.raises(UndeliverableError, match="Broken pipe"):
            end(b"second")
    os.close(writing)


def test_who_else_is_in_the_group_is_asked_only_when_partitions_change() -> None:
    asked = []

    def nobody() -> list[str]:
        asked.append(1)
        return []

    alone = SoleMember(SETTINGS, nobody, lambda: 0.0)
    for _ in range(3):
        alone.check(frozenset({Partition("events", 0)}))
    alone.check(frozenset())
    assert len(asked) == 2


def test_a_member_that_goes_within_a_session_is_no_reason_to_end() -> None:
    now, others = [0.0], ["killed at 127.0.0.1"]
    alone = SoleMember(SETTINGS, lambda: others, lambda: now[0])
    partitions = frozenset({Partition("events", 0)})
    alone.check(partitions)
    now[0] = patience(SETTINGS) - 1
    alone.check(partitions)
    others.clear()
    alone.check(partitions)
    now[0] = 1e9
    alone.check(partitions)


def test_a_member_that_stays_ends_the_watch() -> None:
    now = [0.0]
    alone = SoleMember(SETTINGS, lambda: ["stranger at 10.0.0.1"], lambda: now[0])
    alone.check(frozenset({Partition("events", 0)}))
    now[0] = patience(SETTINGS)
    with pytest.raises(PermanentSourceError, match=r"another member: stranger at 10\.0\.0\.1"):
        alone.check(frozenset({Partition("events", 0)}))


def poisoned_registry(folder: Path) -> FileRegistry:
    registry = FileRegistry(folder / "registry", "nids", Keys.of(new_signing_key()), lambda: 0.0)
    for _ in range(2):
        registry.add(
            Draft(classes=("attack", "benign"), features=(FeatureSpec("bytes"),)), {}, by="test", reason="test"
        )
    registry.promote("2", expected="1", known_good=False, by="test", reason="test")
    return registry


def test_a_move_that_a_crash_kept_from_its_link_is_one_entry_when_it_is_repeated(tmp_path: Path) -> None:
    registry = poisoned_registry(tmp_path)
    link = tmp_path / "registry" / "nids" / "serving"
    registry.promote("1", expected="2", known_good=False, by=ACTOR, reason="poisoning")
    link.unlink()
    link.symlink_to("2")
    assert registry.promote("1", expected="2", known_good=False, by=ACTOR, reason="poisoning").serving == "1"
    assert [m.version for m in registry.history() if m.by == ACTOR] == ["1"]


def test_the_hash_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    key = hash_key(tmp_path)
    assert len(key) == 32
    assert hash_key(tmp_path) == key
    assert (tmp_path / "hash.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["hash.key"]
