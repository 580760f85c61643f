"""At least once, once if it can be, never a flood: the way of alerts, stepped by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from alert_lines import Way, line, numbers
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts.alert import read_incident
from monitor.alerts.breaker import LONGEST_ASKED_SECONDS, LONGEST_WAIT_SECONDS, WELL_SECONDS
from monitor.alerts.courier import BATCH
from monitor.alerts.encode.ocsf import OcsfEncoder
from monitor.alerts.flood import LONGEST_SECONDS, QUIET_SECONDS, FloodLimit
from monitor.alerts.outgoing import NOTICE_FAMILY, Wanted, incident_alert
from monitor.alerts.send.memory import MemorySink
from monitor.alerts.sink import SinkPermanentError, SinkRetryableError
from monitor.alerts.spool_records import packed


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def make(tmp_path: Path, sink: MemorySink) -> Callable[..., Way]:
    return lambda **options: Way(tmp_path / "spool", sink, **options)


@pytest.fixture
def way(make: Callable[..., Way]) -> Way:
    return make()


def away(times: int = 1) -> list[Exception]:
    return [SinkRetryableError("away")] * times


def run(way: Way, seconds: float) -> None:
    """Let time pass, a tenth of a second at a time."""
    for _ in range(round(seconds * 10)):
        way.clock.now += 0.1
        way.courier.work()


def test_alerts_are_sent_in_order_and_counted(way: Way, sink: MemorySink) -> None:
    way.courier.take([line(i) for i in range(BATCH + 5)])
    assert way.value("waiting") == BATCH + 5
    assert way.value("spool_bytes") > 0
    way.courier.work()
    way.courier.work()
    assert numbers(sink.received) == list(range(BATCH + 5))
    assert way.value("sent_total") == BATCH + 5
    assert way.value("waiting") == way.value("spool_bytes") == 0
    assert way.value("last_success_timestamp_seconds") == 1767225600.0 + way.clock.now


def test_a_receiver_that_is_away_is_tried_again_and_nothing_is_lost(way: Way, sink: MemorySink) -> None:
    sink.failures.extend(away(3))
    way.courier.take([line(1), line(2)])
    run(way, 60)
    assert numbers(sink.received) == [1, 2]
    assert way.value("failed_attempts_total") == 3


def test_attempts_become_rarer_up_to_a_minute(way: Way, sink: MemorySink) -> None:
    sink.failures.extend(away(10**4))
    way.courier.take([line(1)])
    run(way, 600)
    first_ten_minutes = sink.attempts
    run(way, 600)
    assert 10 <= first_ten_minutes <= 20
    assert (
        600 / (LONGEST_WAIT_SECONDS * 1.25) - 1
        <= sink.attempts - first_ten_minutes
        <= 600 / (LONGEST_WAIT_SECONDS * 0.75) + 1
    )


def test_one_that_fails_again_soon_is_not_called_every_second(way: Way, sink: MemorySink) -> None:
    for number in range(8):
        sink.failures.extend(away())
        way.courier.take([line(number)])
        run(way, WELL_SECONDS - 1)
    assert way.value("failed_attempts_total") <= 6


def test_a_receiver_that_was_well_starts_with_a_short_wait_again(way: Way, sink: MemorySink) -> None:
    sink.failures.extend(away(6))
    way.courier.take([line(1)])
    run(way, 120 + WELL_SECONDS)
    sink.failures.extend(away())
    way.courier.take([line(2)])
    run(way, 2)
    assert numbers(sink.received) == [1, 2]


def test_an_idle_connection_is_looked_after(way: Way, sink: MemorySink) -> None:
    run(way, 5)
    assert 4 <= sink.looks <= 6


def test_the_same_incident_is_sent_once(way: Way, sink: MemorySink) -> None:
    way.courier.take([line(1), line(1)])
    way.courier.work()
    way.courier.take([line(1), line(1, activity="update")])
    way.courier.work()
    assert [alert.activity for alert in sink.received] == ["create", "update"]


def test_after_a_restart_what_waits_is_sent_and_what_comes_again_is_not(way: Way, sink: MemorySink) -> None:
    way.courier.take([line(1)])
    way.courier.work()
    way.courier.take([line(2)])
    way.start()
    way.courier.take([line(1), line(2), line(3)])
    way.courier.work()
    assert numbers(sink.received) == [1, 2, 3]


def test_a_crash_between_spool_and_memory_of_it_sends_nothing_twice(way: Way, sink: MemorySink) -> None:
    way.courier.take([line(1)])
    (way.folder / "seen").unlink()
    way.start()
    way.courier.take([line(1)])
    run(way, 5)
    assert numbers(sink.received) == [1]


def test_the_same_alert_has_the_same_id_each_time_it_is_sent(way: Way, sink: MemorySink) -> None:
    way.courier.take([line(1)])
    way.courier.work()
    (way.folder / "delivered.json").unlink()
    way.start()
    way.courier.work()
    first, second = sink.received
    assert first == second
    assert json.loads(first.body)["metadata"]["uid"] == first.id


def test_a_full_spool_drops_and_counts_and_takes_them_when_offered_again(
    make: Callable[..., Way], sink: MemorySink
) -> None:
    way = make(spool_bytes=20_000)
    sink.failures.extend(away(1))
    way.courier.take([line(i) for i in range(20)])
    kept = way.value("waiting")
    assert 0 < kept < 20
    assert way.dropped("spool_full") == 20 - kept
    run(way, 5)
    way.courier.take([line(i) for i in range(20)])
    run(way, 5)
    assert numbers(sink.received)[: int(kept)] == list(range(int(kept)))
    assert len(sink.received) > kept


def test_what_a_full_spool_dropped_is_said_before_the_next_alert_that_finds_room_and_once(
    make: Callable[..., Way], sink: MemorySink
) -> None:
    told = read_incident(line(0))
    size = len(packed(incident_alert(told, OcsfEncoder("1.2.3", 65536).incident(told))))
    way = make(spool_bytes=6 * size + 100)  # no room for a notice
    sink.failures.extend(away(1))
    way.courier.take([line(i) for i in range(20)])
    kept = int(way.value("waiting"))
    way.courier.take([line(20)])
    lost = int(way.dropped("spool_full"))
    assert lost == 21 - kept
    way.start()  # killed before anybody was told
    run(way, 5)
    assert numbers(sink.received) == list(range(kept))
    for number in (30, 31):
        way.courier.take([line(number)])
    run(way, 2)
    notice, *alerts = sink.received[kept:]
    facts = json.loads(notice.body)["unmapped"]
    assert (notice.family, facts["dropped"], facts["reasons"]) == (NOTICE_FAMILY, lost, {"spool_full": lost})
    assert numbers(alerts) == [30, 31]


def test_one_that_is_larger_than_the_spool_is_dropped_alone_and_said(
    make: Callable[..., Way], sink: MemorySink
) -> None:
    way = make(spool_bytes=20_000, encoder=OcsfEncoder("1.2.3", 100_000))
    way.courier.take([line(1), line(2, summary="long " * 9000), line(3)])
    assert (way.dropped("spool_full"), way.value("waiting")) == (1, 2)
    way.courier.take([line(4)])
    way.courier.work()
    assert numbers(sink.received) == [1, 3, 4]
    notice = next(alert for alert in sink.received if alert.family == NOTICE_FAMILY)
    assert json.loads(notice.body)["unmapped"]["reasons"] == {"spool_full": 1}


def test_after_five_failures_the_circuit_is_open_and_closed_by_one_alert_that_goes_through(
    way: Way, sink: MemorySink
) -> None:
    sink.failures.extend(away(6))
    way.courier.take([line(i) for i in range(20)])
    states = []
    for _ in range(7):
        while sink.failures and not way.courier.work() and way.value("failed_attempts_total") == len(states):
            way.clock.now += 1
        states.append(way.value("circuit_state"))
    assert states[:6] == [0, 0, 0, 0, 2, 2]
    assert sink.received == []
    way.clock.now += 100
    assert way.courier.work()
    assert (numbers(sink.received), way.value("circuit_state")) == ([0], 0)
    way.courier.work()
    assert numbers(sink.received) == list(range(20))


def test_a_receiver_that_asks_for_time_is_given_it_but_not_for_ever(way: Way, sink: MemorySink) -> None:
    sink.failures.extend([SinkRetryableError("busy", wait_seconds=30.0), SinkRetryableError("busy", wait_seconds=1e9)])
    way.courier.take([line(1)])
    run(way, 29)
    assert sink.attempts == 1
    run(way, 2)
    assert sink.attempts == 2
    run(way, 601)
    assert numbers(sink.received) == [1]


def test_an_alert_that_is_refused_for_good_holds_up_no_other(way: Way, sink: MemorySink) -> None:
    way.courier.take([line(i) for i in range(4)])
    ids = [alert.id for alert in way.spool.peek(4)]
    sink.refused = {ids[1]: SinkPermanentError("siem: too odd"), ids[3]: SinkPermanentError("siem: too odd")}
    way.courier.work()
    assert numbers(sink.received) == [0, 2]
    assert way.dropped("refused") == 2
    dead = [json.loads(text) for text in (way.folder / "dead.ndjson").read_text().splitlines()]
    assert way.value("dead_letter_bytes") == (way.folder / "dead.ndjson").stat().st_size
    assert [letter["reason"] for letter in dead] == ["siem: too odd"] * 2
    assert json.loads(dead[0]["alert"])["metadata"]["uid"] == ids[1]


@pytest.mark.parametrize("odd", [b"", b"{", b"[]", b'{"uid":"a"}', b"\xff", line(1).replace(b'"create"', b'"other"')])
def test_a_line_that_is_no_incident_is_put_aside_once(way: Way, sink: MemorySink, odd: bytes) -> None:
    way.courier.take([odd, line(2)])
    way.courier.take([odd])
    way.courier.work()
    assert numbers(sink.received) == [2]
    assert way.dropped("unreadable") == 1
    assert len((way.folder / "dead.ndjson").read_text().splitlines()) == 1


def test_suspicions_and_small_matters_can_be_left_out(make: Callable[..., Way], sink: MemorySink) -> None:
    way = make(wanted=Wanted(send_suspected=False, min_severity=5))
    way.courier.take(
        [line(1, status="suspected"), line(2, severity=4), line(3, severity=5), line(4, status="retracted")]
    )
    way.courier.work()
    assert numbers(sink.received) == [3, 4]


def test_suspicions_are_sent_by_default(way: Way, sink: MemorySink) -> None:
    way.courier.take([line(1, status="suspected", severity=2)])
    way.courier.work()
    assert json.loads(sink.received[0].body)["severity_id"] == 2


def test_a_flood_is_counted_and_summed_up_when_it_is_over(make: Callable[..., Way], sink: MemorySink) -> None:
    way = make(per_minute=1, burst=3)
    way.courier.take([line(i, severity=3) for i in range(10)])
    assert way.dropped("flood") == 7
    run(way, 1)
    assert numbers(sink.received) == [0, 1, 2]
    way.clock.now += QUIET_SECONDS
    way.courier.take([])
    way.courier.work()
    summary = sink.received[-1]
    assert summary.family == NOTICE_FAMILY
    assert json.loads(summary.body)["unmapped"] == {"suppressed": 7, "models": {"nids": 7}, "sink": "siem"}
    way.courier.take([line(i, severity=3) for i in range(10)])
    way.courier.work()
    assert len(sink.received) == 4


def test_a_flood_that_goes_on_is_summed_up_now_and_then(make: Callable[..., Way]) -> None:
    way = make(per_minute=0.001, burst=1)
    sent = 0
    for number in range(round(LONGEST_SECONDS / 10) + 2):
        way.courier.take([line(number, severity=3)])
        way.clock.now += 10
        sent = len(way.spool)
    assert sent == 2


def test_a_flood_is_summed_up_at_the_end_of_the_process(make: Callable[..., Way], sink: MemorySink) -> None:
    way = make(per_minute=1, burst=1)
    way.courier.take([line(1), line(2)])
    way.courier.close()
    assert [alert.family for alert in sink.received] == ["poisoning", NOTICE_FAMILY]


def test_a_flood_of_small_matters_does_not_hide_a_grave_one(make: Callable[..., Way], sink: MemorySink) -> None:
    way = make(per_minute=1, burst=2)
    way.courier.take([line(i, severity=3) for i in range(50)] + [line(99, severity=9)])
    way.courier.work()
    assert numbers(sink.received) == [0, 1, 99]


def test_in_a_flood_the_end_of_what_was_told_is_told_and_of_what_was_not_is_not(
    make: Callable[..., Way], sink: MemorySink
) -> None:
    way = make(per_minute=0.001, burst=2)
    way.courier.take([line(i) for i in range(5)])
    for _ in range(2):
        way.courier.take([line(i, activity="close", status="resolved") for i in range(5)])
    way.courier.work()
    assert [(int(alert.incident, 16), alert.activity) for alert in sink.received] == [
        (0, "create"),
        (1, "create"),
        (0, "close"),
        (1, "close"),
    ]


@given(st.lists(st.floats(0, 30), max_size=60), st.floats(1, 120), st.integers(1, 10))
def test_no_more_pass_than_the_limit_allows(gaps: list[float], per_minute: float, burst: int) -> None:
    limit = FloodLimit(per_minute, burst, now=0.0)
    now, passed, message = 0.0, 0, read_incident(line())
    for gap in gaps:
        now += gap
        passed += limit.passes(message, now)
    assert passed <= burst + now * per_minute / 60 + 1e-6


def test_a_disk_that_takes_nothing_is_counted_and_the_alert_is_taken_when_offered_again(
    way: Way, sink: MemorySink
) -> None:
    segment = way.folder / f"{1:016d}.seg"
    segment.mkdir()
    way.courier.take([line(1)])
    assert way.dropped("spool_failed") == 1
    segment.rmdir()
    way.courier.take([line(1)])
    way.courier.work()
    assert numbers(sink.received) == [1]


def test_what_waits_is_shown_from_the_start(way: Way, sink: MemorySink) -> None:
    way.courier.take([line(1)])
    restarted = Way(way.folder, sink)
    assert restarted.value("waiting") == 1


def test_what_may_not_have_been_read_stays_on_disk(way: Way, sink: MemorySink) -> None:
    sink.unread = 1
    way.courier.take([line(1), line(2)])
    way.courier.work()
    assert numbers(sink.received) == [1, 2]
    assert (way.value("sent_total"), way.value("waiting")) == (1, 1)
    way.start()
    sink.unread = 0
    way.courier.work()
    assert numbers(sink.received) == [1, 2, 2]
    assert (way.value("sent_total"), way.value("waiting")) == (2, 0)


def test_what_may_not_have_been_read_goes_again_when_the_receiver_hangs_up(way: Way, sink: MemorySink) -> None:
    sink.unread = 2
    way.courier.take([line(1), line(2)])
    way.courier.work()
    sink.failures.extend(away())
    run(way, 5)
    assert numbers(sink.received) == [1, 2, 1, 2]
    sink.unread = 0
    way.courier.take([line(3)])
    way.courier.work()
    assert numbers(sink.received) == [1, 2, 1, 2, 3]
    assert way.value("sent_total") == 3


def test_an_orderly_end_leaves_nothing_on_disk(way: Way, sink: MemorySink) -> None:
    sink.unread = 2
    way.courier.take([line(1), line(2)])
    way.courier.work()
    way.courier.close()
    assert (way.value("sent_total"), len(way.spool)) == (2, 0)


def test_a_refused_alert_waits_for_those_before_it(way: Way, sink: MemorySink) -> None:
    sink.unread = 1
    way.courier.take([line(0)])
    way.courier.work()
    way.courier.take([line(1), line(2)])
    refused = way.spool.peek(1, skip=1)[0].id
    sink.refused = {refused: SinkPermanentError("siem: too odd")}
    way.courier.work()
    assert (numbers(sink.received), way.dropped("refused")) == ([0], 0)
    sink.unread = 0
    run(way, 3)
    assert (numbers(sink.received), way.dropped("refused")) == ([0, 2], 1)
    assert (way.value("sent_total"), len(way.spool)) == (2, 0)


def test_what_was_read_before_a_failure_is_not_sent_again(way: Way, sink: MemorySink) -> None:
    way.courier.take([line(i) for i in range(5)])
    sink.failures.append(SinkRetryableError("slow", read=2))
    way.courier.work()
    assert (len(way.spool), way.value("sent_total")) == (3, 2)
    run(way, 3)
    assert numbers(sink.received) == list(range(5))


def test_a_receiver_is_left_alone_as_long_as_it_asks_but_not_for_ever(way: Way, sink: MemorySink) -> None:
    way.courier.take([line(1)])
    sink.failures.append(SinkRetryableError("slow down", wait_seconds=30))
    way.courier.work()
    way.clock.now += 29
    way.courier.work()
    assert sink.attempts == 1
    way.clock.now += 1
    sink.failures.append(SinkRetryableError("slow down", wait_seconds=1e9))
    way.courier.work()
    way.clock.now += LONGEST_ASKED_SECONDS
    way.courier.work()
    assert numbers(sink.received) == [1]


@given(refused=st.sets(st.integers(0, 11)))
def test_a_sink_that_says_which_is_refused_gets_every_other_alert_once(
    refused: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    sink = MemorySink()
    sink.says_which = True
    way = Way(tmp_path_factory.mktemp("way") / "spool", sink)
    way.courier.take([line(i) for i in range(12)])
    ids = [alert.id for alert in way.spool.peek(12)]
    sink.refused = {ids[i]: SinkPermanentError("siem: too odd") for i in refused}
    run(way, 2)
    assert numbers(sink.received) == [i for i in range(12) if i not in refused]
    assert (way.dropped("refused"), len(way.spool)) == (len(refused), 0)


def test_one_that_is_said_to_be_refused_waits_for_those_before_it(way: Way, sink: MemorySink) -> None:
    way.courier.take([line(i) for i in range(3)])
    sink.says_which, sink.unread = True, 1
    sink.refused = {way.spool.peek(1, skip=1)[0].id: SinkPermanentError("siem: too odd")}
    way.courier.work()
    assert (numbers(sink.received), way.dropped("refused"), len(way.spool)) == ([0], 0, 3)
    sink.unread = 0
    run(way, 3)
    assert (numbers(sink.received), way.dropped("refused"), len(way.spool)) == ([0, 2], 1, 0)
