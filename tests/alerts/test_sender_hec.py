"""Splunk's collector: envelopes, acknowledgements, and what each of its codes means for an alert."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from alert_lines import Clock, Way, line
from alert_lines import alert as plain_alert
from certificates import write_certificates
from daemon_process import wait_until
from fake_splunk import FakeSplunk
from http_receivers import HttpReceiverFake, Said, server_context
from prometheus_client import CollectorRegistry

from monitor.alerts.alert import Alert
from monitor.alerts.courier import Clocks
from monitor.alerts.delivery import Delivery
from monitor.alerts.encode.cef import make as cef
from monitor.alerts.open_sinks import open_sink, open_sinks
from monitor.alerts.send.splunk_hec import ACK_SECONDS
from monitor.alerts.sink import Sink, SinkPermanentError, SinkRetryableError
from monitor.alerts.spool import Spool
from monitor.settings.sink_sections import SinkConfig
from monitor.watching.alert_metrics import AlertMetrics

TOKEN = "11111111-2222-3333-4444-555555555555"  # noqa: S105 - of a server that is a test's own
WAITING = 300


@pytest.fixture
def splunk() -> FakeSplunk:
    return FakeSplunk(TOKEN)


@pytest.fixture
def http(splunk: FakeSplunk) -> Iterator[HttpReceiverFake]:
    with HttpReceiverFake(splunk.respond) as running:
        yield running


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


Opened = Callable[..., Sink]


@pytest.fixture
def opened(http: HttpReceiverFake, token: Path) -> Opened:
    def make(monotonic: Callable[[], float] = time.monotonic, **settings: Any) -> Sink:
        config = SinkConfig(type="splunk_hec", **{"url": http.url, "token_file": token, **settings})
        return open_sink(config, monotonic)

    return make


@pytest.fixture
def acknowledged(splunk: FakeSplunk, opened: Opened, tmp_path: Path) -> Way:
    """A way to a collector whose indexers say what they have."""
    splunk.ack = True
    clock = Clock()
    return Way(tmp_path / "spool", opened(clock, acknowledge=True), clock)


def alert(number: int = 1, body: bytes = b'{"a":1}') -> Alert:
    return plain_alert(number, body, at=1767225700.5)


def told(splunk: FakeSplunk) -> list[int]:
    return [int(event["event"]["finding_info"]["uid"], 16) for event in splunk.events]


def test_an_alert_is_an_event_in_an_envelope(splunk: FakeSplunk, opened: Opened) -> None:
    assert opened(index="soc").send([alert(1), alert(2, b'CEF:0|a|"\\')]) == 0
    first, second = splunk.events
    assert first == {
        "time": 1767225700.5,
        "host": first["host"],
        "source": "tocsin",
        "sourcetype": "tocsin:ocsf",
        "index": "soc",
        "event": {"a": 1},
        "fields": {"tocsin_alert": "alert-1", "tocsin_incident": f"{1:032x}"},
    }
    assert second["event"] == 'CEF:0|a|"\\'


def test_a_format_that_is_no_json_is_one_text(splunk: FakeSplunk, opened: Opened, tmp_path: Path) -> None:
    way = Way(tmp_path / "spool", opened(format="cef", sourcetype="cef"), encoder=cef("1", 9000))
    way.courier.take([line(1, summary='"]}\n{"event":"forged"}')])
    way.courier.work()
    (event,) = splunk.events
    assert event["event"].startswith("CEF:0|Tocsin|")
    assert event["sourcetype"] == "cef"


def test_an_alert_is_unread_until_the_indexers_have_it(splunk: FakeSplunk, opened: Opened) -> None:
    splunk.ack = True
    clock = Clock()
    sink = opened(clock, acknowledge=True)
    assert sink.send([alert(1), alert(2)]) == 2
    assert sink.send([alert(3)]) == 3
    clock.now += 1
    assert sink.send([]) == 3
    splunk.index(1)
    clock.now += 1
    assert sink.send([]) == 3, "the first two are not indexed"
    splunk.index(0)
    clock.now += 1
    assert sink.send([]) == 0


def test_a_collector_that_was_restarted_does_not_acknowledge_what_died_with_it(
    splunk: FakeSplunk, acknowledged: Way
) -> None:
    way, clock = acknowledged, acknowledged.clock
    way.courier.take([line(1)])
    way.courier.work()
    splunk.restart()
    splunk.events.clear()
    way.courier.take([line(2)])
    for _ in range(8):
        clock.now += 1
        way.courier.work()
        splunk.index(0, 1)
    assert set(told(splunk)) == {1, 2}
    assert (way.value("sent_total"), len(way.spool)) == (2, 0)


def test_a_collector_that_never_acknowledges_is_not_filled_with_repeats(splunk: FakeSplunk, acknowledged: Way) -> None:
    way, clock = acknowledged, acknowledged.clock
    way.courier.take([line(1)])
    for _ in range(24 * 12):
        clock.now += 300
        way.courier.work()
    assert len(told(splunk)) <= 30
    assert len(way.spool) == 1


def test_what_the_indexers_do_not_acknowledge_is_sent_again(splunk: FakeSplunk, acknowledged: Way) -> None:
    way, clock = acknowledged, acknowledged.clock
    way.courier.take([line(i) for i in range(3)])
    way.courier.work()
    assert len(way.spool) == 3
    for _ in range(round(ACK_SECONDS) + 3):
        clock.now += 1
        way.courier.work()
    assert told(splunk) == [0, 1, 2] * 2
    splunk.index(*range(9))
    clock.now += 1
    way.courier.work()
    assert len(way.spool) == 0
    assert way.value("sent_total") == 3


def test_a_wrong_token_sends_nothing_to_the_dead_letters(
    splunk: FakeSplunk, opened: Opened, token: Path, tmp_path: Path
) -> None:
    token.write_text("99999999-old")
    way = Way(tmp_path / "spool", opened())
    way.courier.take([line(1)])
    way.courier.work()
    assert (splunk.events, way.dropped("refused"), len(way.spool)) == ([], 0, 1)
    token.write_text(TOKEN)
    way.clock.now += 5
    way.courier.work()
    assert told(splunk) == [1]
    assert not (tmp_path / "spool" / "dead.ndjson").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"token": "another"}, "it does not know the token: check token_file"),
        ({"disabled": True}, "the token is disabled: enable it in Splunk"),
        ({"indexes": {"other"}}, "the token may not write to this index"),
        ({"busy": 1}, "Server is busy"),
    ],
)
def test_what_an_operator_can_mend_is_retryable_and_says_how(
    splunk: FakeSplunk, opened: Opened, change: dict[str, Any], words: str
) -> None:
    for name, value in change.items():
        setattr(splunk, name, value)
    with pytest.raises(SinkRetryableError, match=words) as caught:
        opened(index="soc").send([alert()])
    assert TOKEN not in str(caught.value)


def test_a_token_without_acknowledgement_is_said(opened: Opened) -> None:
    with pytest.raises(SinkRetryableError, match="switched off for this token: leave acknowledge away"):
        opened(acknowledge=True).send([alert()])


def test_an_event_that_is_never_taken_goes_to_the_dead_letters_and_holds_nobody_up(
    splunk: FakeSplunk, opened: Opened, tmp_path: Path
) -> None:
    splunk.poison = "the one"
    way = Way(tmp_path / "spool", opened())
    way.courier.take([line(i, summary="the one" if i == 2 else "fine") for i in range(5)])
    way.courier.work()
    assert sorted(told(splunk)) == [0, 1, 3, 4]
    (dead,) = [json.loads(text) for text in (tmp_path / "spool" / "dead.ndjson").read_text().splitlines()]
    assert "Invalid data format" in dead["reason"]


def test_a_refused_event_waits_for_the_acknowledgement_of_those_before_it(
    splunk: FakeSplunk, acknowledged: Way
) -> None:
    splunk.poison = "the one"
    way, clock = acknowledged, acknowledged.clock
    way.courier.take([line(i, summary="the one" if i == 1 else "fine") for i in range(3)])
    way.courier.work()
    assert (told(splunk), way.dropped("refused")) == ([0], 0)
    splunk.index(0)
    for _ in range(4):
        clock.now += 1
        way.courier.work()
        splunk.index(1)
    assert (told(splunk), way.dropped("refused"), len(way.spool)) == ([0, 2], 1, 0)


def test_a_batch_that_is_too_large_goes_one_by_one(splunk: FakeSplunk, opened: Opened, tmp_path: Path) -> None:
    splunk.max_bytes = 8000
    way = Way(tmp_path / "spool", opened())
    way.courier.take([line(i, summary="x" * (9000 if i == 1 else 10)) for i in range(4)])
    way.courier.work()
    assert told(splunk) == [0, 2, 3]
    assert way.dropped("refused") == 1


def test_it_is_left_alone_for_as_long_as_it_asks(http: HttpReceiverFake, opened: Opened, tmp_path: Path) -> None:
    http.respond = lambda _: Said(429, b"slow down", {"Retry-After": str(WAITING)})
    way = Way(tmp_path / "spool", opened())
    way.courier.take([line(1)])
    way.courier.work()
    way.clock.now += WAITING - 1
    way.courier.work()
    assert len(http.asked) == 1
    way.clock.now += 2
    way.courier.work()
    assert len(http.asked) == 2


@pytest.mark.parametrize("body", [b"<html>please log in", b"", b"[]", b'{"text":"Success"}'])
def test_a_success_that_is_not_a_collectors_is_none(body: bytes, http: HttpReceiverFake, opened: Opened) -> None:
    http.respond = lambda _: Said(200, body)
    with pytest.raises(SinkRetryableError, match="its answer is not that of an event collector: check url"):
        opened().send([alert()])


def test_closing_waits_for_the_indexers_and_says_what_they_did_not_acknowledge(
    splunk: FakeSplunk, opened: Opened
) -> None:
    splunk.ack = True
    seconds = count()
    sink = opened(lambda: float(next(seconds)), acknowledge=True)
    sink.send([alert()])
    splunk.index(0)
    sink.close()
    sink.send([alert()])
    with pytest.raises(SinkRetryableError, match="the indexers have not acknowledged the last 1 alerts yet"):
        sink.close()


def test_what_was_acknowledged_before_a_failure_is_not_sent_again(
    splunk: FakeSplunk, http: HttpReceiverFake, acknowledged: Way
) -> None:
    way, clock = acknowledged, acknowledged.clock
    for number in range(3):
        way.courier.take([line(number)])
        way.courier.work()
    splunk.index(0, 1)
    clock.now += 1
    http.respond = lambda asked: splunk.respond(asked) if asked.path.endswith("/ack") else Said(503, b"")
    way.courier.take([line(3)])
    way.courier.work()
    assert [int(alert.incident, 16) for alert in way.spool.peek(9)] == [2, 3]


def test_what_is_acknowledged_while_the_process_ends_is_not_sent_again(
    splunk: FakeSplunk, opened: Opened, tmp_path: Path
) -> None:
    splunk.ack = True
    seconds = count()
    way = Way(tmp_path / "spool", opened(lambda: float(next(seconds)), acknowledge=True))
    for number in range(3):
        way.courier.take([line(number)])
        way.courier.work()
    splunk.index(0, 1)
    way.courier.close()
    assert [int(alert.incident, 16) for alert in way.spool.peek(9)] == [2]
    assert way.value("sent_total") == 2


def test_what_is_not_acknowledged_when_the_process_ends_is_sent_again_by_the_next_under_the_same_id(
    splunk: FakeSplunk, http: HttpReceiverFake, token: Path, tmp_path: Path
) -> None:
    splunk.ack = True
    config = SinkConfig(type="splunk_hec", url=http.url, token_file=token, acknowledge=True, format="incident")

    def start() -> Delivery:
        metrics = AlertMetrics(CollectorRegistry())
        clocks = Clocks(time.time, time.monotonic)
        [delivery] = open_sinks({"siem": config}, tmp_path, metrics, clocks, random.SystemRandom(), "1")
        return delivery

    first = start()
    for number in range(5):
        first.append(line(number))
    wait_until(lambda: len(splunk.events) == 5, "five alerts", 20)
    begun = time.monotonic()
    first.close(0.2)
    assert time.monotonic() - begun < 5
    splunk.restart()  # what was not indexed died with it
    before = [event["fields"]["tocsin_alert"] for event in splunk.events]
    splunk.events.clear()
    second = start()
    wait_until(lambda: len(splunk.events) == 5, "them again", 20)
    splunk.index(*range(9))
    second.close(20)
    assert [event["fields"]["tocsin_alert"] for event in splunk.events] == before
    assert len(set(before)) == 5
    assert len(Spool(tmp_path / "spool" / "siem", 1 << 20)) == 0


def test_hostile_names_stay_within_their_fields(splunk: FakeSplunk, opened: Opened) -> None:
    evil = Alert(
        **{**{f: getattr(alert(), f) for f in Alert.__struct_fields__}, "id": '"}\n{"event":1', "incident": "\u202e"}
    )
    assert opened().send([evil]) == 0
    assert [event["fields"] for event in splunk.events] == [
        {"tocsin_alert": '"}\n{"event":1', "tocsin_incident": "\u202e"}
    ]


def test_tls_is_checked_and_client_certificates_are_shown(splunk: FakeSplunk, token: Path, tmp_path: Path) -> None:
    certificates = write_certificates(tmp_path / "certificates")
    with HttpReceiverFake(splunk.respond, server_context(certificates, wants_client=True)) as http:
        settings: dict[str, Any] = {"type": "splunk_hec", "url": http.url, "token_file": token}
        with pytest.raises(SinkRetryableError, match=r"its certificate is refused: .*see cafile, and the host in url"):
            open_sink(SinkConfig(**settings), time.monotonic).send([alert()])
        settings["cafile"] = certificates / "ca.pem"
        with pytest.raises(SinkRetryableError):
            open_sink(SinkConfig(**settings), time.monotonic).send([alert()])
        settings |= {"certfile": certificates / "client.pem", "keyfile": certificates / "client.key"}
        assert open_sink(SinkConfig(**settings), time.monotonic).send([alert(7)]) == 0
    assert len(splunk.events) == 1


def test_the_courier_is_told_nothing_of_others_by_a_permanent_error(splunk: FakeSplunk, opened: Opened) -> None:
    splunk.poison = "alert-2"
    with pytest.raises(SinkPermanentError) as caught:
        opened().send([alert(1), alert(2)])
    assert caught.value.sent is None
