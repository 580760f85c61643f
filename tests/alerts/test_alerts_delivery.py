"""The loop never waits for a receiver, and a restart loses nothing."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from alert_lines import Way, alert, line, numbers
from daemon_process import wait_until
from prometheus_client import CollectorRegistry

from monitor.alerts.alert import Alert
from monitor.alerts.courier import Clocks
from monitor.alerts.delivery import Delivery, close_all
from monitor.alerts.open_sinks import OFFERED_AGAIN, open_sinks
from monitor.alerts.published import closes_of, last_lines
from monitor.alerts.routes import routing_of
from monitor.alerts.send.file import FileSink
from monitor.alerts.send.memory import MemorySink
from monitor.alerts.sink import SinkRetryableError
from monitor.settings.route_sections import RoutingConfig
from monitor.settings.sink_sections import SinkConfig
from monitor.watching.alert_metrics import AlertMetrics

CLOCKS = Clocks(time.time, time.monotonic)


class StuckSink(MemorySink):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = threading.Event()
        self.go = threading.Event()

    def send(self, alerts: Sequence[Alert]) -> int:
        if alerts:
            self.inside.set()
            self.go.wait(60)
        return super().send(alerts)


def test_append_returns_while_the_receiver_never_does(tmp_path: Path) -> None:
    sink = StuckSink()
    way = Way(tmp_path / "spool", sink)
    delivery = Delivery("siem", way.courier, way.metrics)
    delivery.start()
    delivery.append(line(0))
    assert sink.inside.wait(60)
    for number in range(1, 31):
        delivery.append(line(number))
    wait_until(lambda: len(way.spool) == 31, "all of them on the disk while the receiver hangs", 60)
    assert numbers(Way(tmp_path / "spool").spool.peek(99)) == list(range(31))
    assert not sink.go.is_set()
    assert sink.received == []
    sink.go.set()
    delivery.close(60)
    assert numbers(sink.received) == list(range(31))


def test_what_finds_no_room_in_memory_is_counted_and_told_before_the_next_alert(tmp_path: Path) -> None:
    sink = MemorySink()
    way = Way(tmp_path / "spool", sink)
    delivery = Delivery("siem", way.courier, way.metrics, waiting=10)
    for number in range(30):
        delivery.append(line(number))
    assert way.dropped("queue_full") == 20
    delivery.start()
    delivery.close(60)
    notice, *alerts = sink.received
    assert json.loads(notice.body)["unmapped"]["reasons"] == {"queue_full": 20}
    assert numbers(alerts) == list(range(10))


def test_a_receiver_that_hangs_for_ever_holds_up_no_other_one(tmp_path: Path) -> None:
    stuck, well = StuckSink(), MemorySink()
    ways = [Way(tmp_path / "a", stuck), Way(tmp_path / "b", well)]
    first, second = (Delivery("siem", way.courier, way.metrics) for way in ways)
    for delivery in (first, second):
        delivery.start()
        delivery.append(line(1))
    assert stuck.inside.wait(60)
    second.append(line(2))
    second.close(60)
    assert numbers(well.received) == [1, 2]
    assert stuck.received == []
    stuck.go.set()
    first.close(60)


def test_closing_does_not_wait_for_a_stuck_receiver_and_nothing_on_disk_is_lost(tmp_path: Path) -> None:
    sink = StuckSink()
    way = Way(tmp_path / "spool", sink)
    delivery = Delivery("siem", way.courier, way.metrics)
    delivery.start()
    delivery.append(line(1))
    assert sink.inside.wait(60)
    delivery.close(0.01)
    assert numbers(Way(tmp_path / "spool").spool.peek(10)) == [1]
    sink.go.set()
    delivery.close(60)


def test_many_stuck_receivers_hold_the_end_up_no_longer_than_one(tmp_path: Path) -> None:
    sinks = [StuckSink() for _ in range(6)]
    ways = [Way(tmp_path / str(i), sink) for i, sink in enumerate(sinks)]
    deliveries = [Delivery("siem", way.courier, way.metrics) for way in ways]
    for delivery, sink in zip(deliveries, sinks, strict=True):
        delivery.start()
        delivery.append(line(1))
        assert sink.inside.wait(60)
    begun = time.monotonic()
    close_all(deliveries, 0.5)
    assert time.monotonic() - begun < 2
    for sink in sinks:
        sink.go.set()
    close_all(deliveries, 60)
    assert [numbers(sink.received) for sink in sinks] == [[1]] * 6


def test_a_failure_that_nobody_thought_of_does_not_end_the_thread(tmp_path: Path) -> None:
    sink = MemorySink()
    way = Way(tmp_path / "spool", sink)
    sink.failures.append(RuntimeError("a bug"))
    delivery = Delivery("siem", way.courier, way.metrics)
    delivery.start()
    delivery.append(line(1))
    wait_until(lambda: not sink.failures, "the failure", 60)
    way.clock.now += 10
    delivery.close(60)
    assert numbers(sink.received) == [1]


def open_file(
    tmp_path: Path, *, then: Sequence[bytes] = (), routing: dict[str, Any] | None = None, **settings: Any
) -> Delivery:
    """A file of incidents as a sink, which ``then`` come to."""
    local = SinkConfig(type="file", path=tmp_path / "alerts.ndjson", format="incident", **settings)
    tree = None if routing is None else routing_of(RoutingConfig.model_validate(routing), ["local"])
    metrics = AlertMetrics(CollectorRegistry())
    [delivery] = open_sinks(
        {"local": local}, tmp_path / "state", metrics, CLOCKS, random.SystemRandom(), "1", routing=tree
    )
    for each in then:
        delivery.append(each)
    return delivery


def test_what_a_crash_kept_from_the_spool_is_sent_at_the_next_start(tmp_path: Path) -> None:
    first = open_file(tmp_path)
    first.append(line(1))
    first.close(60)
    (tmp_path / "state" / "incidents.ndjson").write_bytes(line(1) + b"\n" + line(2) + b"\n" + line(3)[:-9])
    for _ in range(2):
        open_file(tmp_path).close(60)
    sent = (tmp_path / "alerts.ndjson").read_bytes()
    assert sent.count(b"\n") == 2
    assert sent.index(f"{1:032x}".encode()) < sent.index(f"{2:032x}".encode())


def test_who_wants_no_suspicions_is_not_told_the_end_of_one_but_of_what_was_told(tmp_path: Path) -> None:
    delivery = open_file(tmp_path, send_suspected=False)
    suspected = {"status": "suspected", "family": "inconclusive", "severity": 2}
    delivery.append(line(1, **suspected))
    delivery.append(line(1, **suspected | {"activity": "close", "status": "retracted"}))
    delivery.append(line(2))
    delivery.append(line(2, activity="close", status="retracted"))
    delivery.close(60)
    sent = [json.loads(row) for row in (tmp_path / "alerts.ndjson").read_text().splitlines()]
    assert [(row["uid"], row["activity"]) for row in sent] == [(f"{2:032x}", "create"), (f"{2:032x}", "close")]


def test_a_new_sink_is_not_told_old_stories_ever(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "incidents.ndjson").write_bytes(line(1) + b"\n")
    for _ in range(2):
        delivery = open_file(tmp_path)
        delivery.append(line(2))
        delivery.close(60)
    sent = (tmp_path / "alerts.ndjson").read_text().splitlines()
    assert len(sent) == 1
    assert f"{2:032x}" in sent[0]


def test_a_sink_that_comes_back_after_long_is_told_the_end_of_what_it_knows_and_nothing_else_of_what_is_over(
    tmp_path: Path,
) -> None:
    """It comes back so late that the closes are no longer among the last lines that are offered again."""
    muted = {"mute_times": {"now": ["daily 00:00-00:00"]}, "routes": [{"mute": ["now"]}]}
    known, held, others = line(1), line(2), [line(100 + i, severity=0) for i in range(OFFERED_AGAIN)]
    open_file(tmp_path, min_severity=1, then=[known]).close(60)
    open_file(tmp_path, min_severity=1, then=[held], routing=muted).close(60)
    over = [line(i, activity="close", status="resolved") for i in (1, 2)]
    reopened = line(2, activity="update", status="resolved")
    (tmp_path / "state" / "incidents.ndjson").write_bytes(b"\n".join([known, held, *over, *others, b""]))
    for _ in range(2):
        open_file(tmp_path, min_severity=1).close(60)
    sent = [json.loads(row) for row in (tmp_path / "alerts.ndjson").read_text().splitlines()]
    assert [(int(row["uid"], 16), row["activity"]) for row in sent] == [(1, "create"), (1, "close")]
    (tmp_path / "state" / "incidents.ndjson").write_bytes(b"\n".join([*over, reopened, over[0][:-1]]))
    assert closes_of(tmp_path / "state" / "incidents.ndjson", {f"{i:032x}" for i in (1, 2)}) == {f"{1:032x}": over[0]}


@pytest.mark.parametrize(
    ("content", "most", "expected"),
    [
        (b"", 9, []),
        (b"a\nb\n", 9, [b"a", b"b"]),
        (b"a\nb\nhal", 9, [b"a", b"b"]),
        (b"aaaa\nb\n", 4, [b"b"]),
    ],
)
def test_the_last_whole_lines_of_a_file(tmp_path: Path, content: bytes, most: int, expected: list[bytes]) -> None:
    path = tmp_path / "file"
    assert last_lines(path, 9) == []
    path.write_bytes(content)
    assert last_lines(path, most) == expected


def alerts(*numbers: int) -> list[Alert]:
    return [alert(number, b"%d" % number) for number in numbers]


def test_a_file_may_be_rotated_and_removed_at_any_time(tmp_path: Path) -> None:
    path, old = tmp_path / "out" / "alerts.ndjson", tmp_path / "old"
    sink = FileSink(path)
    sink.send(alerts(1, 2))
    path.rename(old)
    sink.send(alerts(3))
    path.unlink()
    sink.send(alerts(4))
    sink.close()
    sink.send(alerts(5))
    sink.close()
    assert (old.read_bytes(), path.read_bytes()) == (b"1\n2\n", b"4\n5\n")


def test_a_torn_line_is_ended_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    path.write_bytes(b'{"half')
    sink = FileSink(path)
    sink.send(alerts(1))
    sink.close()
    assert path.read_bytes() == b'{"half\n1\n'


def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    sink = FileSink(tmp_path)
    with pytest.raises(SinkRetryableError, match=str(tmp_path)):
        sink.send(alerts(1))
