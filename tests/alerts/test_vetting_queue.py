"""Requests for labels arrive at the queue that the SOC has chosen: all of them, once, whole, through any outage."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alert_lines import Clock
from alert_lines import line as incident_line
from daemon_process import records, wait_until
from http_receivers import HttpReceiverFake, Said
from hypothesis import given
from hypothesis import strategies as st
from in_process import Run
from prometheus_client import CollectorRegistry
from vetting_material import line, request, write_state

from monitor.alerts.courier import Clocks, Courier
from monitor.alerts.dead_letters import DeadLetters
from monitor.alerts.fit import TooLongError
from monitor.alerts.losses import Losses
from monitor.alerts.open_sinks import open_sink, open_sinks
from monitor.alerts.seen import Seen
from monitor.alerts.send.memory import MemorySink
from monitor.alerts.sink import Sink, SinkRetryableError
from monitor.alerts.spool import Spool
from monitor.alerts.vetting_queues import open_queues
from monitor.alerts.vetting_requests import VettingRequests, request_alert, request_body, request_id
from monitor.messages import VettingRequest
from monitor.settings.config import ConfigError, load_config
from monitor.settings.sink_sections import SinkConfig
from monitor.watching.alert_metrics import AlertMetrics

CLOCKS = Clocks(time.time, time.monotonic)
RNG = random.Random(1)  # noqa: S311 - only spreads attempts over time


def choice(folder: Path) -> VettingRequests:
    return VettingRequests(Seen(folder / "seen"), 4096)


def courier(folder: Path, sink: Sink, clock: Clock) -> Courier:
    """As a new process would make it."""
    kept = Spool(folder, 1_000_000), DeadLetters(folder / "dead.ndjson"), Losses(folder / "losses.json")
    metrics, clocks = AlertMetrics(CollectorRegistry()), Clocks(time.time, clock)
    return Courier("queue", choice(folder), *kept, sink, metrics, clocks, RNG)


def deliver(state_dir: Path, sinks: dict[str, SinkConfig], *lines: bytes) -> None:
    """What one process delivers that starts, is told these requests, and ends in order."""
    queues = open_queues(sinks, state_dir, AlertMetrics(CollectorRegistry()), CLOCKS, RNG)
    for each in lines:
        for queue in queues:
            queue.append(each)
    for queue in queues:
        queue.close()


def ids(path: Path) -> list[str]:
    return [record["id"] for record in records(path)]


def test_a_request_is_sent_as_it_was_published_with_an_id_of_its_own(tmp_path: Path) -> None:
    (alert,) = choice(tmp_path).choose([line()]).alerts
    told = json.loads(alert.body)
    assert told.pop("alert_id") == alert.id
    assert told == msgspec.to_builtins(request())
    assert (alert.model, alert.family, alert.status, alert.severity) == ("nids", "vetting", "suspected", 2)


def test_the_same_question_is_sent_once_also_when_it_is_asked_anew_after_a_restart(tmp_path: Path) -> None:
    first = choice(tmp_path)
    chosen = first.choose([line(), line(), line(asked_at=1.0)])
    assert len(chosen.alerts) == 1
    first.settled(chosen.alerts, chosen.passed_over)
    assert choice(tmp_path).choose([line(asked_at=2.0)]).alerts == []
    assert len(choice(tmp_path).choose([line("other"), line(incident="i2"), line(model="mail")]).alerts) == 3


def test_what_is_no_request_is_kept_for_a_person_once(tmp_path: Path) -> None:
    first = choice(tmp_path)
    chosen = first.choose([incident_line(), b"{", line()])
    assert (len(chosen.alerts), len(chosen.unsendable)) == (1, 2)
    assert "not sent as a vetting request: " in chosen.unsendable[0].reason
    first.settled(chosen.alerts, chosen.passed_over)
    assert choice(tmp_path).choose([incident_line()]).unsendable == []


def test_more_requests_than_any_limit_of_alerts_lets_pass_are_all_sent(tmp_path: Path) -> None:
    wanted = [f"flow-{i}" for i in range(300)]
    chosen = choice(tmp_path).choose([line(i) for i in wanted])
    assert [json.loads(alert.body)["id"] for alert in chosen.alerts] == wanted


def test_requests_wait_on_disk_while_the_queue_is_away_and_over_a_restart(tmp_path: Path) -> None:
    clock, away = Clock(), MemorySink()
    away.failures.extend(SinkRetryableError("away") for _ in range(9))
    first = courier(tmp_path, away, clock)
    first.take([line("a"), line("b")])
    first.work()
    del first  # as a crash would
    back = MemorySink()
    second = courier(tmp_path, back, clock)
    second.take([line("b"), line("c")])
    second.work()
    assert away.received == []
    assert [json.loads(alert.body)["id"] for alert in back.received] == ["a", "b", "c"]


def test_a_webhook_that_fails_and_comes_back_gets_every_question_with_an_id_to_drop_repeats_by(tmp_path: Path) -> None:
    answers = iter([503, *[204] * 9])
    clock = Clock()
    with HttpReceiverFake(lambda _: Said(next(answers))) as hook:
        config = SinkConfig(type="webhook", gets="vetting", url=f"http://127.0.0.1:{hook.port}/questions")
        way = courier(tmp_path, open_sink(config, time.monotonic), clock)
        way.take([line("a"), line("b")])
        way.work()
        clock.now += 5.0
        way.work()
    told = [json.loads(asked.body) for asked in hook.asked]
    assert [each["id"] for each in told] == ["a", "a", "b"]
    assert [asked.headers["webhook-id"] for asked in hook.asked] == [each["alert_id"] for each in told]
    assert {asked.path for asked in hook.asked} == {"/questions"}


def test_what_is_open_at_a_start_is_sent_to_a_queue_that_has_not_seen_it(tmp_path: Path) -> None:
    state, out = tmp_path / "state", tmp_path / "queue.ndjson"
    write_state(state, [request("old"), request("answered"), request("open")], answered=["answered"])
    sinks = {"labels": SinkConfig(type="file", path=out, gets="vetting")}
    deliver(state, sinks, line("new"))
    deliver(state, sinks, line("new"))
    assert ids(out) == ["old", "open", "new"]


def test_a_queue_gets_no_incidents_and_a_sink_no_requests(tmp_path: Path) -> None:
    sinks = {
        "labels": SinkConfig(type="file", path=tmp_path / "queue.ndjson", gets="vetting"),
        "siem": SinkConfig(type="file", path=tmp_path / "alerts.ndjson", format="incident"),
    }
    metrics = AlertMetrics(CollectorRegistry())
    (siem,) = open_sinks(sinks, tmp_path / "state", metrics, CLOCKS, RNG, "1")
    siem.append(incident_line(1))
    siem.close()
    deliver(tmp_path / "state", sinks, line())
    assert ids(tmp_path / "queue.ndjson") == ["flow-7"]
    assert [record["schema"] for record in records(tmp_path / "alerts.ndjson")] == ["tocsin.incident.v1"]


texts = st.text(max_size=60) | st.sampled_from(['"]\\', "a\nb\r\x00", "\u202e\u2028", "\x1b]8;;x\x07", "${jndi:x}"])


@given(
    ident=texts.filter(bool),
    incident=texts.filter(bool),
    why=texts,
    ref=texts,
    features=st.dictionaries(texts, texts | st.none(), max_size=5),
)
def test_whatever_an_event_holds_a_request_is_one_line_of_what_was_asked(**asked: Any) -> None:
    names = {name: value for name, value in asked.items() if name != "ident"}
    wanted = request(asked["ident"], **names)
    body = request_body(wanted, 1_000_000)
    assert body.decode().isprintable()
    assert body.isascii()
    told = json.loads(body)
    assert told.pop("alert_id") == request_id(wanted)
    assert msgspec.convert(told, VettingRequest) == wanted
    assert request_alert(wanted, body).id.isalnum() is False  # a prefix, a dash, hexadecimal digits
    assert set(request_id(wanted)) <= set("vetting-0123456789abcdef")


def test_a_request_that_does_not_fit_loses_features_and_says_so_but_never_its_names() -> None:
    wide = request(features={f"feature {i}": float(i) for i in range(500)})
    told = json.loads(request_body(wide, 4096))
    assert told["truncated"] == ["features after 100"]
    assert (told["id"], told["model"], len(told["features"])) == ("flow-7", "nids", 100)
    huge = request(features={"x": "y" * 1_000_000}, why="z" * 1_000_000, ref="r" * 1_000_000)
    assert json.loads(request_body(huge, 4096))["id"] == "flow-7"


def test_a_request_whose_event_could_not_be_named_is_not_sent(tmp_path: Path) -> None:
    with pytest.raises(TooLongError, match="raise max_message_bytes"):
        request_body(request("x" * 5000), 4096)
    chosen = choice(tmp_path).choose([line("x" * 5000), line()])
    assert [alert.id for alert in chosen.alerts] == [request_id(request())]
    assert len(chosen.unsendable) == 1


def test_keys_that_only_incidents_have_are_refused_for_a_queue(tmp_path: Path) -> None:
    path = tmp_path / "tocsin.yaml"
    path.write_text("sinks: {labels: {type: file, path: q.ndjson, gets: vetting, min_severity: 3, format: cef}}")
    with pytest.raises(ConfigError, match="format, min_severity would not be used: it gets vetting requests"):
        load_config(path, {})


def test_a_queue_is_tried_out_with_a_request_that_says_that_it_is_a_test(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "tocsin.yaml"
    path.write_text("sinks: {labels: {type: file, path: queue.ndjson, gets: vetting}}")
    code, said, _ = run("alerts", "test", "--config", path, "--json")
    (told,) = records(tmp_path / "queue.ndjson")
    assert (code, json.loads(said)[0]["alert"]) == (0, told["alert_id"])
    assert (told["schema"], told["model"]) == ("tocsin.vetting.v1", "tocsin-test")
    assert "test" in told["why"]


def test_delivery_goes_on_without_waiting_for_the_queue(tmp_path: Path) -> None:
    out = tmp_path / "queue.ndjson"
    sinks = {"labels": SinkConfig(type="file", path=out, gets="vetting")}
    (queue,) = open_queues(sinks, tmp_path / "state", AlertMetrics(CollectorRegistry()), CLOCKS, RNG)
    queue.append(line())
    wait_until(lambda: ids(out) == ["flow-7"], "the request", 10)
    queue.close()
