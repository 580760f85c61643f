"""A sink is told of an incident when its routes let it be; what is held back is told later, also after a kill."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from alert_lines import Way, incident, line
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from monitor.alerts.admission import Admission
from monitor.alerts.alert import Alert, IncidentMessage, read_incident
from monitor.alerts.encode.incident import IncidentEncoder
from monitor.alerts.ledger import FORGOTTEN_SECONDS, Ledger, Row, open_ledger
from monitor.alerts.outgoing import NOTICE_FAMILY, Wanted
from monitor.alerts.routes import Placement
from monitor.alerts.send.memory import MemorySink
from monitor.messages import ActionTaken

OPEN = Placement(())


class Muting:
    """A route that is muted, or leads nowhere, when it is told to."""

    def __init__(self, update_seconds: float = 0.0) -> None:
        self.until: float | None = None
        self.leads = True
        self.update_seconds = update_seconds

    def __call__(self, message: IncidentMessage, now: float) -> Placement | None:  # noqa: ARG002 - the seam's signature
        muted = self.until if self.until is not None and self.until > now else None
        return Placement((), self.update_seconds, muted) if self.leads else None


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def make(tmp_path: Path, sink: MemorySink) -> Callable[..., Way]:
    return lambda place, **more: Way(tmp_path / "spool", sink, place=place, encoder=IncidentEncoder(99_999), **more)


def come(way: Way, *lines: bytes) -> None:
    way.courier.take(lines)
    way.courier.work()


def later(way: Way, seconds: float) -> None:
    way.clock.now += seconds
    come(way)


def told(sink: MemorySink) -> list[tuple[int, str, int]]:
    """Which incident, what of it, and how many windows it stands for."""
    bodies = [json.loads(alert.body) for alert in sink.received if alert.family != NOTICE_FAMILY]
    return [(int(body["uid"], 16), body["activity"], body["folded"]) for body in bodies]


def test_what_is_still_open_at_the_end_of_a_mute_is_told_then_in_its_newest_state(
    make: Callable[..., Way], sink: MemorySink
) -> None:
    muting = Muting()
    way = make(muting)
    muting.until = way.wall() + 100
    come(way, line(1), line(1, activity="update", severity=8, folded=2), line(2))
    assert (sink.received, way.value("folded_total")) == ([], 3)
    way.start()  # killed
    later(way, 99)
    assert sink.received == []
    later(way, 2)
    assert told(sink) == [(1, "update", 3), (2, "create", 0)]
    later(way, 100)
    assert len(sink.received) == 2


def test_what_came_and_went_while_muted_is_counted_and_not_told(make: Callable[..., Way], sink: MemorySink) -> None:
    muting = Muting()
    way = make(muting)
    muting.until = way.wall() + 100
    come(way, line(1))
    come(way, line(1, activity="close", status="resolved"))
    later(way, 200)
    assert (sink.received, way.dropped("muted")) == ([], 1)


def test_what_is_over_when_its_mute_ends_is_not_told_though_both_are_learned_at_once(
    make: Callable[..., Way], sink: MemorySink
) -> None:
    muting = Muting()
    way = make(muting)
    come(way, line(2))
    muting.until = way.wall() + 100
    come(way, line(1), line(2, activity="update", severity=8), line(3))
    way.clock.now += 200  # the sink was not configured meanwhile
    way.start()
    over = {"activity": "close", "status": "resolved"}
    come(way, line(1, **over), line(2, **over), line(3, activity="update", confidence=0.5))
    assert told(sink) == [(2, "create", 0), (2, "close", 1), (3, "update", 1)]
    assert way.dropped("muted") == 1
    later(way, 200)
    assert len(sink.received) == 3


def test_the_end_of_what_was_told_before_a_mute_is_told_after_it(make: Callable[..., Way], sink: MemorySink) -> None:
    muting = Muting()
    way = make(muting)
    come(way, line(1))
    muting.until = way.wall() + 100
    come(way, line(1, activity="close", status="resolved"))
    assert told(sink) == [(1, "create", 0)]
    later(way, 101)
    assert told(sink) == [(1, "create", 0), (1, "close", 0)]


def test_who_was_told_of_an_incident_is_told_its_end_whatever_its_routes_say_then(
    make: Callable[..., Way], sink: MemorySink
) -> None:
    muting = Muting()
    way = make(muting)
    come(way, line(1))
    muting.leads = False
    come(way, line(1, activity="update", severity=3), line(2))
    come(way, line(1, activity="close", status="resolved"), line(2, activity="close", status="resolved"))
    assert told(sink) == [(1, "create", 0), (1, "close", 0)]


def test_updates_are_an_interval_apart_unless_something_changes(make: Callable[..., Way], sink: MemorySink) -> None:
    way = make(Muting(update_seconds=600))
    come(way, line(1))
    for second in range(5):
        later(way, 60)
        come(way, line(1, activity="update", confidence=0.9 + second / 100, folded=9))
    assert told(sink) == [(1, "create", 0)]
    come(way, line(1, activity="update", severity=10))
    assert told(sink)[1:] == [(1, "update", 50)]
    come(way, line(1, activity="update", severity=10, action=[ActionTaken("rollback", "1", "k", "done")]))
    come(way, line(1, activity="update", severity=10, action=[ActionTaken("rollback", "1", "k", "done")], folded=1))
    assert len(sink.received) == 3
    later(way, 600)
    assert told(sink)[3:] == [(1, "update", 1)]


def test_the_end_is_told_at_once_and_counts_what_was_held_back(make: Callable[..., Way], sink: MemorySink) -> None:
    way = make(Muting(update_seconds=600))
    come(way, line(1), line(1, activity="update", confidence=0.5))
    come(way, line(1, activity="close", status="resolved", folded=3))
    assert told(sink) == [(1, "create", 0), (1, "close", 4)]
    later(way, 601)
    assert len(sink.received) == 2


def test_a_sink_with_a_least_severity_is_told_the_end_of_what_became_milder(
    make: Callable[..., Way], sink: MemorySink
) -> None:
    wanted = Wanted(min_severity=6)
    way = make(lambda message, _: OPEN if wanted.takes(message) else None)
    come(way, line(1, severity=6), line(2, severity=5))
    come(way, *(line(n, activity="close", status="resolved", severity=5) for n in (1, 2)))
    assert told(sink) == [(1, "create", 0), (1, "close", 0)]


def test_what_the_spool_has_no_room_for_at_the_end_of_a_mute_is_tried_again(
    make: Callable[..., Way], sink: MemorySink
) -> None:
    muting = Muting()
    way = make(muting, spool_bytes=6_000)
    muting.until = way.wall() + 100
    come(way, *(line(n) for n in range(12)))
    later(way, 101)
    for _ in range(20):
        later(way, 61)
    assert sorted(number for number, *_ in told(sink) if number < 12) == list(range(12))


def test_a_flood_at_the_end_of_a_mute_is_told_as_far_as_the_limit_allows_and_then_the_rest(
    make: Callable[..., Way], sink: MemorySink
) -> None:
    muting = Muting()
    way = make(muting, per_minute=2.0, burst=2)
    muting.until = way.wall() + 100
    come(way, *(line(n) for n in range(6)))
    later(way, 101)
    assert len([alert for alert in sink.received if alert.family != NOTICE_FAMILY]) == 2
    for _ in range(5):
        later(way, 61)
    assert len([alert for alert in sink.received if alert.family != NOTICE_FAMILY]) == 6


def test_a_damaged_ledger_is_put_aside_and_alerts_go_on(make: Callable[..., Way], sink: MemorySink) -> None:
    way = make(Muting())
    path = way.folder / "ledger.sqlite"
    path.write_bytes(b"not a database" * 100)
    way.start()
    come(way, line(1))
    assert told(sink) == [(1, "create", 0)]
    assert path.with_suffix(".damaged").exists()


def test_a_ledger_forgets_what_was_not_heard_of_for_long(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "l", 0.0)
    ledger.write([Row("a", 1.0), Row("b", 1.0, held=b"x", due=5.0)], (), 1.0)
    late = FORGOTTEN_SECONDS + 10.0
    ledger.write([Row("b", 1.0, held=b"y", due=late + 6.0)], (), FORGOTTEN_SECONDS)
    ledger.close()
    again = open_ledger(tmp_path / "l", late)
    assert (again.get("a"), again.held()) == (None, 1)
    assert again.due(late + 5.5) == []
    assert [row.held for row in again.due(late + 6.0)] == [b"y"]


def test_a_ledger_does_not_forget_what_is_still_to_be_told(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "l", 0.0)
    ledger.write([Row("a", held=b"x", due=5.0)], (), 1.0)
    ledger.close()
    again = open_ledger(tmp_path / "l", 10 * FORGOTTEN_SECONDS)
    assert [row.held for row in again.due(10 * FORGOTTEN_SECONDS)] == [b"x"]


def test_what_was_held_back_by_a_clock_that_was_wrong_is_told_when_it_is_put_right(
    make: Callable[..., Way], sink: MemorySink
) -> None:
    muting = Muting(update_seconds=600)
    way = make(muting)
    come(way, line(3))
    way.began_at += 10**8
    muting.until = way.wall() + 3600
    come(way, line(1))
    come(way, line(3, activity="update", confidence=0.5))
    muting.until = None
    way.began_at -= 10**8
    later(way, 1)
    assert told(sink) == [(3, "create", 0), (1, "create", 0)]
    later(way, 600)
    assert told(sink)[2:] == [(3, "update", 0)]


def test_an_update_is_told_though_the_clock_was_put_back_since_the_last(
    make: Callable[..., Way], sink: MemorySink
) -> None:
    way = make(Muting(update_seconds=600))
    way.began_at += 10**8
    come(way, line(1))
    way.began_at -= 10**8
    come(way, line(1, activity="update", confidence=0.5))
    assert told(sink) == [(1, "create", 0), (1, "update", 0)]


class FullLedger(Ledger):
    """On a disk that is full for a while."""

    full = False

    def write(self, rows: Iterable[Row], gone: Iterable[str], now: float) -> None:
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super().write(rows, gone, now)


def test_a_ledger_that_cannot_be_written_makes_nothing_be_told_again_and_again(tmp_path: Path) -> None:
    muting, ledger, message = Muting(), FullLedger(tmp_path / "l", 0.0), read_incident(line(1))
    admission = Admission(muting, ledger)
    muting.until = 100.0
    assert admission.admit(message, line(1), 1.0) == ("hold", 0)
    admission.settle((), 1.0)
    assert admission.due(101.0) == [line(1)]
    assert admission.admit(message, line(1), 101.0) == ("send", 0)
    ledger.full = True
    for now in (101.0, 102.0):
        with pytest.raises(sqlite3.OperationalError):
            admission.settle({message.id}, now)
        assert admission.due(now) == []
    ledger.full = False
    admission.settle((), 103.0)
    assert (ledger.due(200.0), admission.due(200.0)) == ([], [])


def test_alerts_go_on_where_the_ledger_is_damaged_at_run_time(make: Callable[..., Way], sink: MemorySink) -> None:
    way = make(Muting())
    come(way, line(1))
    path = way.folder / "ledger.sqlite"
    path.write_bytes(b"not a database" * 1000)
    for number in (2, 3):
        with suppress(sqlite3.DatabaseError):
            way.courier.take([line(number)])
    way.courier.work()
    assert [number for number, *_ in told(sink)] == [1, 2, 3]


class Told(MemorySink):
    """Notices when something is sent though the route is muted."""

    def __init__(self, way: Callable[[], Way], muting: Muting) -> None:
        super().__init__()
        self._way = way
        self._muting = muting
        self.while_muted = 0

    def send(self, alerts: Any) -> int:
        until = self._muting.until
        self.while_muted += bool(alerts) and until is not None and self._way().wall() < until
        return super().send(alerts)


class Life(RuleBasedStateMachine):
    """Whatever comes, however it is muted and whenever the process is killed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.muting = Muting(update_seconds=300.0)
        self.sink = Told(lambda: self.way, self.muting)
        self.way = Way(
            self.folder, self.sink, place=self.muting, encoder=IncidentEncoder(99_999), spool_bytes=10**9, burst=10**6
        )
        self.last: dict[int, Any] = {}
        self.windows: dict[int, int] = {}
        self.changes = 0

    @rule(number=st.integers(0, 3), grave=st.integers(5, 9), close=st.booleans())
    def come(self, number: int, grave: int, close: bool) -> None:  # noqa: FBT001 - hypothesis calls it so
        before = self.last.get(number)
        if before is not None and before.activity == "close":
            return
        self.changes += 1
        activity = "create" if before is None else "close" if close else "update"
        status = "resolved" if activity == "close" else "confirmed"
        now = incident(number, activity=activity, status=status, severity=grave, confidence=1 / self.changes)
        self.last[number] = now
        self.windows[number] = self.windows.get(number, 0) + 1
        fields = {"activity": activity, "status": status, "severity": grave, "confidence": 1 / self.changes}
        self.way.courier.take([line(number, **fields)])

    @rule(seconds=st.floats(1, 400))
    def pass_time(self, seconds: float) -> None:
        self.way.clock.now += seconds
        self.way.courier.take([])
        self.way.courier.work()

    @rule(seconds=st.floats(1, 1000))
    def mute(self, seconds: float) -> None:
        self.way.courier.work()  # what is in the spool was to be told before
        self.muting.until = self.way.wall() + seconds

    @rule()
    def killed(self) -> None:
        self.way.start()

    @invariant()
    def nothing_is_told_while_muted(self) -> None:
        assert self.sink.while_muted == 0

    def teardown(self) -> None:
        for _ in range(8):
            self.pass_time(1000.0)
        shutil.rmtree(self.folder)
        for number, last in self.last.items():
            mine: list[Alert] = [alert for alert in self.sink.received if int(alert.incident, 16) == number]
            if not mine:
                assert last.activity == "close"  # it came and went while nobody was to be told
                continue
            bodies = [json.loads(alert.body) for alert in mine]
            assert (bodies[-1]["activity"], bodies[-1]["confidence"]) == (last.activity, last.confidence)
            assert sum(body["folded"] + 1 for body in bodies) == self.windows[number]
            assert len({alert.id for alert in mine}) == len(mine)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
