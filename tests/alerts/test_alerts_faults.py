"""What nobody expects of a disk, a sender, a line: nothing waits for ever, and nothing is lost in silence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from alert_lines import Way, line, numbers

from monitor.alerts.alert import Alert
from monitor.alerts.dead_letters import DeadLetters
from monitor.alerts.outgoing import NOTICE_FAMILY
from monitor.alerts.send.memory import MemorySink
from monitor.alerts.sink import SinkPermanentError
from monitor.alerts.spool import Spool
from monitor.alerts.spool_marks import WRITTEN


class FragileSink(MemorySink):
    """A sender with a bug: certain alerts make it fail as no sender should."""

    def __init__(self, *poison: int) -> None:
        super().__init__()
        self.poison = set(poison)

    def send(self, alerts: Sequence[Alert]) -> int:
        if self.poison & set(numbers(list(alerts))):
            raise KeyError("a bug")
        return super().send(alerts)


def run(way: Way, seconds: float) -> None:
    for _ in range(round(seconds)):
        way.clock.now += 1
        for _ in range(20):
            if not way.courier.work():
                break


def segment(way: Way, number: int = 1) -> Path:
    return way.folder / f"{number:016d}.seg"


def spoil(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(bytes(content))


def losses(sink: MemorySink) -> list[dict[str, int]]:
    return [json.loads(a.body)["unmapped"]["reasons"] for a in sink.received if a.family == NOTICE_FAMILY]


@pytest.mark.parametrize("poison", [(0,), (0, 1), (0, 3, 4)])
def test_an_alert_that_a_sender_fails_with_holds_up_no_other_for_ever(tmp_path: Path, poison: tuple[int, ...]) -> None:
    sink = FragileSink(*poison)
    way = Way(tmp_path / "spool", sink)
    way.courier.take([line(i) for i in range(6)])
    run(way, 400)
    assert numbers(sink.received) == [i for i in range(6) if i not in poison]
    assert (way.dropped("refused"), len(way.spool)) == (len(poison), 0)
    assert len((way.folder / "dead.ndjson").read_text().splitlines()) == len(poison)


def test_a_sender_that_fails_with_every_alert_loses_none_and_shows_it(tmp_path: Path) -> None:
    sink = FragileSink(*range(6))
    way = Way(tmp_path / "spool", sink)
    way.courier.take([line(i) for i in range(6)])
    run(way, 400)
    assert (len(way.spool), way.value("circuit_state")) == (6, 2)
    assert way.value("failed_attempts_total") > 5
    sink.poison.clear()
    run(way, 100)
    assert numbers(sink.received) == list(range(6))


def test_a_spoilt_record_costs_no_other_over_a_restart_and_is_said(tmp_path: Path) -> None:
    sink = MemorySink()
    way = Way(tmp_path / "spool", sink)
    way.courier.take([line(i) for i in range(4)])
    first = len(segment(way).read_bytes()) // 4
    spoil(segment(way), first + 100)
    way.start()
    way.courier.work()
    assert numbers(sink.received) == [0, 2, 3]
    assert way.dropped("spool_failed") == 1
    way.courier.take([line(9)])
    way.courier.work()
    assert losses(sink) == [{"spool_failed": 1}]


def test_a_spoilt_last_record_is_said_once_however_often_the_process_starts(tmp_path: Path) -> None:
    sink = MemorySink()
    way = Way(tmp_path / "spool", sink)
    way.courier.take([line(i) for i in range(3)])
    spoil(segment(way), segment(way).stat().st_size - 1)
    for _ in range(3):
        way.start()
    way.courier.take([line(8)])
    way.courier.work()
    assert (way.dropped("spool_failed"), losses(sink)) == (1, [{"spool_failed": 1}])
    assert [a.family for a in sink.received] == ["poisoning", "poisoning", NOTICE_FAMILY, "poisoning"]
    assert numbers(sink.received) == [0, 1, 8]


def test_half_a_record_that_a_crash_left_is_no_loss_and_its_line_is_sent_when_it_comes_again(tmp_path: Path) -> None:
    sink = MemorySink()
    way = Way(tmp_path / "spool", sink)
    way.courier.take([line(0)])
    before = segment(way).read_bytes()
    marks = (way.folder / WRITTEN).read_bytes()
    seen = (way.folder / "seen").read_bytes()
    way.courier.take([line(1)])
    # as a process leaves it that is killed while it writes
    segment(way).write_bytes(segment(way).read_bytes()[: len(before) + 100])
    (way.folder / WRITTEN).write_bytes(marks)
    (way.folder / "seen").write_bytes(seen)
    way.start()
    way.courier.take([line(0), line(1), line(2)])
    run(way, 2)
    assert numbers(sink.received) == [0, 1, 2]
    assert (way.dropped("spool_failed"), losses(sink)) == (0, [])


def test_a_record_that_is_spoilt_while_it_waits_holds_nothing_up(tmp_path: Path) -> None:
    sink = MemorySink()
    way = Way(tmp_path / "spool", sink)
    way.courier.take([line(i) for i in range(4)])
    spoil(segment(way), 30)
    way.courier.work()
    assert numbers(sink.received) == [1, 2, 3]
    assert (way.dropped("spool_failed"), len(way.spool), way.spool.waiting_bytes) == (1, 0, 0)


def test_a_segment_that_somebody_removes_holds_nothing_up(tmp_path: Path) -> None:
    sink = MemorySink()
    way = Way(tmp_path / "spool", sink)
    way.courier.take([line(0), line(1)])
    segment(way).unlink()
    way.courier.take([line(2)])
    way.courier.work()
    assert numbers(sink.received) == [2]
    assert way.dropped("spool_failed") == 2
    way.courier.take([line(3)])
    assert numbers(Way(way.folder).spool.peek(9))[-1] == 3


def test_what_could_be_neither_written_nor_cut_off_is_written_over(tmp_path: Path) -> None:
    way = Way(tmp_path / "spool")
    way.courier.take([line(0)])
    with segment(way).open("ab") as file:
        file.write(b"half a record")
    way.courier.take([line(1)])
    assert numbers(way.spool.peek(9)) == [0, 1]
    assert numbers(Spool(way.folder, 10**6).peek(9)) == [0, 1]


def test_lines_that_cannot_be_looked_at_together_are_taken_one_by_one(tmp_path: Path) -> None:
    sink = MemorySink()
    way = Way(tmp_path / "spool", sink)
    deep = b'{"uid":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    way.courier.take([line(0), deep, line(1)])
    way.courier.work()
    assert numbers(sink.received) == [0, 1]
    assert way.dropped("unreadable") == 1
    assert "RecursionError" in json.loads((way.folder / "dead.ndjson").read_text())["reason"]


def test_what_the_dead_letters_have_no_room_for_is_said_in_the_next_alert(tmp_path: Path) -> None:
    sink = MemorySink()
    way = Way(tmp_path / "spool", sink)
    (way.folder / "dead.ndjson").mkdir()
    way.courier.take([line(0)])
    sink.refused = {way.spool.peek(1)[0].id: SinkPermanentError("siem: too odd")}
    way.courier.work()
    way.courier.take([line(1), b"{"])
    way.courier.take([line(2)])
    run(way, 2)
    assert (way.dropped("refused"), way.dropped("unreadable")) == (1, 1)
    assert losses(sink) == [{"refused": 1, "unreadable": 1}]


def test_two_replays_at_once_lose_no_letter_that_is_put_meanwhile(tmp_path: Path) -> None:
    way = Way(tmp_path / "spool")
    way.courier.take([line(i) for i in range(3)])
    first, second, third = way.spool.peek(3)
    letters = DeadLetters(tmp_path / "dead.ndjson")
    letters.put(first, "odd")
    letters.put(second, "odd")
    with letters.taken() as found:
        (tmp_path / "dead.ndjson").write_bytes(b"")  # by a person
        letters.put(third, "odd")
        found.clear()
    with letters.taken() as found:
        assert [letter.as_alert() for letter in found] == [third]
