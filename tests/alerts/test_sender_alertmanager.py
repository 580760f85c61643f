"""Incidents at a real Alertmanager: one alert from create to close, whatever becomes of it in between."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from alert_lines import Clock, Way, incident, line
from alertmanager import Alertmanager
from daemon_process import wait_until
from http_receivers import HttpReceiverFake, Said

from monitor.alerts.alert import Notice
from monitor.alerts.encode.incident import make as encoder
from monitor.alerts.open_sinks import open_sink
from monitor.alerts.outgoing import Wanted, notice_alert
from monitor.alerts.sample import sample_incident
from monitor.alerts.send.alertmanager import AGAIN_SECONDS, OPEN_SECONDS, REPEATED, SHORT_SECONDS
from monitor.alerts.sink import Sink, SinkRetryableError
from monitor.settings.sink_sections import SinkConfig

NOW = time.time()
UID = f"{1:032x}"


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Alertmanager]:
    with Alertmanager(tmp_path / "alertmanager") as running:
        yield running


def config(url: str, **settings: Any) -> SinkConfig:
    return SinkConfig(type="alertmanager", url=url, **settings)


def started(folder: Path, sink: Sink, clock: Clock | None = None) -> Way:
    way = Way(folder / "spool", sink, clock or Clock(), encoder=encoder("1", 60_000))
    way.wanted = Wanted(send_suspected=False)
    way.start()
    return way


def tell(way: Way, **changes: Any) -> None:
    """One message about the incident, some seconds ago."""
    way.courier.take([line(1, **{"opened_at": NOW - 100, "at": NOW - 50, **changes})])
    way.clock.now += 1
    way.courier.work()


def one(alertmanager: Alertmanager) -> dict[str, Any]:
    (found,) = alertmanager.firing()
    return found


def test_an_incident_is_one_alert_from_create_to_close(alertmanager: Alertmanager, tmp_path: Path) -> None:
    way = started(tmp_path, open_sink(config(alertmanager.url, labels={"team": "soc"}), time.monotonic))
    tell(way, family="drift", hypothesis="concept_drift", severity=3)
    first = one(alertmanager)
    assert first["labels"] == {
        "alertname": "TocsinIncident", "incident": UID, "model": "nids", "version": "2", "team": "soc",
    }  # fmt: skip
    assert first["annotations"]["title"] == "concept_drift in model nids, version 2"
    assert (first["annotations"]["family"], first["annotations"]["grade"]) == ("drift", "low")
    tell(way, activity="update")
    second = one(alertmanager)
    assert second["fingerprint"] == first["fingerprint"]
    assert (second["annotations"]["hypothesis"], second["annotations"]["grade"]) == ("backdoor", "critical")
    assert second["annotations"]["sources"] == '["sensor-7"]'
    assert second["annotations"]["summary"] == incident().summary
    tell(way, activity="close", status="resolved")
    assert alertmanager.firing() == []


@pytest.mark.parametrize("status", ["retracted", "resolved"])
def test_what_is_over_is_resolved(status: str, alertmanager: Alertmanager, tmp_path: Path) -> None:
    way = started(tmp_path, open_sink(config(alertmanager.url), time.monotonic))
    tell(way)
    assert len(alertmanager.firing()) == 1
    tell(way, activity="update" if status == "retracted" else "close", status=status)
    assert alertmanager.firing() == []


def test_what_is_only_suspected_is_not_sent_unless_it_is_asked_for(alertmanager: Alertmanager, tmp_path: Path) -> None:
    assert config(alertmanager.url).send_suspected is False
    way = started(tmp_path, open_sink(config(alertmanager.url), time.monotonic))
    tell(way, status="suspected")
    assert alertmanager.firing() == []


def test_an_alertmanager_that_forgot_is_told_again_what_is_open(alertmanager: Alertmanager, tmp_path: Path) -> None:
    clock = Clock()
    way = started(tmp_path, open_sink(config(alertmanager.url), clock), clock)
    tell(way)
    alertmanager.stop()
    clock.now += AGAIN_SECONDS
    way.courier.work()
    assert way.value("failed_attempts_total") == 1
    alertmanager.start()
    assert alertmanager.firing() == []
    clock.now += AGAIN_SECONDS
    way.courier.work()
    assert one(alertmanager)["labels"]["incident"] == UID


def test_what_is_open_is_told_again_in_parts_and_one_that_is_refused_is_said(tmp_path: Path) -> None:
    clock = Clock()
    with HttpReceiverFake(lambda asked: Said(413 if len(json.loads(asked.body)) > REPEATED else 200)) as http:
        way = started(tmp_path, open_sink(config(http.url), clock), clock)
        way.courier.take([line(number, opened_at=NOW - 100, at=NOW - 50) for number in range(120)])
        for _ in range(4):
            way.courier.work()
        http.asked.clear()
        clock.now += AGAIN_SECONDS
        way.courier.work()
        again = {alert["labels"]["incident"] for asked in http.asked for alert in json.loads(asked.body)}
        assert len(again) == 120
        http.respond = lambda _: Said(400, b"label is odd")
        clock.now += AGAIN_SECONDS
        with structlog.testing.capture_logs() as logs:
            way.courier.work()
        assert (len(http.asked), way.value("failed_attempts_total"), way.dropped("refused")) == (6, 0, 0)
    assert len(logs) == 3
    assert all("label is odd" in each["reason"] and each["log_level"] == "warning" for each in logs)


def test_alertmanager_notifies_of_an_incident_and_of_its_end(tmp_path: Path) -> None:
    with (
        HttpReceiverFake(lambda _: Said(200)) as pager,
        Alertmanager(tmp_path / "alertmanager", f"{pager.url}/page") as alertmanager,
    ):
        way = started(tmp_path, open_sink(config(alertmanager.url), time.monotonic))
        tell(way)
        wait_until(lambda: len(pager.asked) == 1, "the page", 20)
        tell(way, activity="close", status="resolved")
        wait_until(lambda: len(pager.asked) == 2, "the end", 20)
        told = [json.loads(asked.body) for asked in pager.asked]
    assert [group["status"] for group in told] == ["firing", "resolved"]
    assert {group["groupLabels"]["incident"] for group in told} == {UID}


def test_hostile_names_stay_within_their_labels(alertmanager: Alertmanager, tmp_path: Path) -> None:
    evil = 'nids"}\n\u202e{{ .Labels }}' + "x" * 100_000
    way = started(tmp_path, open_sink(config(alertmanager.url), time.monotonic))
    tell(way, model=evil, version=evil, summary=evil)
    found = one(alertmanager)
    assert found["labels"]["model"].startswith('nids"}<U+000A><U+202E>{{ .Labels }}xxx')
    assert len(found["labels"]["model"]) == 1000
    assert found["labels"].keys() == {"alertname", "incident", "model", "version"}


def posted(told: Callable[[Sink], object], **settings: Any) -> list[dict[str, Any]]:
    """What a sink says to an Alertmanager when it is told something."""
    with HttpReceiverFake(lambda _: Said(200)) as http:
        told(open_sink(config(http.url, **settings), time.monotonic, lambda: 1_767_225_900.0))
        return [alert for asked in http.asked for alert in json.loads(asked.body)]


def test_an_end_is_far_off_while_an_incident_is_open(tmp_path: Path) -> None:
    (alert,) = posted(lambda sink: tell(started(tmp_path, sink), opened_at=1767225600.0, at=1767225700.5))
    assert OPEN_SECONDS == 3 * 86_400
    assert (alert["startsAt"], alert["endsAt"]) == ("2026-01-01T00:00:00.000Z", "2026-01-04T00:05:00.000Z")


def test_a_notice_and_a_test_end_by_themselves_and_are_not_repeated(tmp_path: Path) -> None:
    notice = Notice("suppressed-1", 1767225600.0, 5, "12 alerts were not sent", "A flood.")
    body = encoder("1", 9000).notice(notice)

    def told(sink: Sink) -> None:
        sink.send([notice_alert(notice, body)])
        way = started(tmp_path, sink)
        way.wanted = Wanted()
        way.start()
        way.courier.take([sample_incident(1767225600.0)])
        way.courier.work()

    first, second = posted(told)
    assert SHORT_SECONDS == 600
    assert {first["endsAt"], second["endsAt"]} == {"2026-01-01T00:15:00.000Z"}
    assert first["labels"] == {"alertname": "TocsinNotice", "incident": "suppressed-1"}
    assert first["annotations"]["title"] == "12 alerts were not sent"
    assert second["labels"]["model"] == "tocsin-test"


def test_one_that_is_away_is_tried_again(tmp_path: Path) -> None:
    way = started(tmp_path, open_sink(config("http://127.0.0.1:1"), time.monotonic))
    tell(way)
    assert (len(way.spool), way.dropped("refused")) == (1, 0)
    with pytest.raises(SinkRetryableError, match=r"127\.0\.0\.1:1: Connection refused"):
        way.sink.send(way.spool.peek(1))
