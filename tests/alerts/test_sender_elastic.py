"""Elastic's `_bulk`: each item is judged by itself, and a repeat changes nothing."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alert_lines import Way, line
from fake_elastic import FakeElastic
from http_receivers import HttpReceiverFake, Said

from monitor.alerts.encode.ecs import make as ecs
from monitor.alerts.open_sinks import open_sink
from monitor.alerts.sink import Sink, SinkRetryableError
from monitor.settings.sink_sections import SinkConfig

KEY = base64.b64encode(b"id:api-key").decode()


@pytest.fixture
def elastic() -> FakeElastic:
    return FakeElastic(f"ApiKey {KEY}")


@pytest.fixture
def http(elastic: FakeElastic) -> Iterator[HttpReceiverFake]:
    with HttpReceiverFake(elastic.respond) as running:
        yield running


@pytest.fixture
def opened(http: HttpReceiverFake, tmp_path: Path) -> Callable[..., Sink]:
    (tmp_path / "key").write_text(KEY)

    def make(**settings: Any) -> Sink:
        settings = settings or {"api_key_file": tmp_path / "key"}
        return open_sink(SinkConfig(type="elastic", url=http.url, **settings), time.monotonic)

    return make


@pytest.fixture
def way(opened: Callable[..., Sink], tmp_path: Path) -> Way:
    return Way(tmp_path / "spool", opened(), encoder=ecs("1", 90_000))


def refused(text: str, status: int) -> Callable[[dict[str, Any]], tuple[int, str] | None]:
    return lambda document: (status, "some_exception") if document["message"] == text else None


def stored(elastic: FakeElastic) -> list[int]:
    return [int(document["tocsin"]["uid"], 16) for document in elastic.documents.values()]


def test_alerts_are_created_under_their_ids(elastic: FakeElastic, way: Way) -> None:
    way.courier.take([line(i) for i in range(3)])
    way.courier.work()
    assert stored(elastic) == [0, 1, 2]
    assert list(elastic.documents) == [document["event"]["id"] for document in elastic.documents.values()]
    assert {document["@timestamp"] for document in elastic.documents.values()} == {"2026-01-01T00:01:40.500Z"}


def test_what_is_already_there_is_done(elastic: FakeElastic, way: Way) -> None:
    way.courier.take([line(i) for i in range(3)])
    batch = way.spool.peek(9)
    way.courier.work()
    assert way.sink.send(batch) == 0
    assert elastic.bulks == 2
    assert stored(elastic) == [0, 1, 2]


def test_of_a_half_accepted_bulk_only_what_is_refused_is_given_up(elastic: FakeElastic, way: Way) -> None:
    elastic.refuses = refused("odd", 400)
    way.courier.take([line(i, summary="odd" if i in {1, 3} else "fine") for i in range(5)])
    for _ in range(4):
        way.courier.work()
    assert stored(elastic) == [0, 2, 4]
    assert (way.dropped("refused"), way.value("sent_total"), len(way.spool)) == (2, 3, 0)
    (dead, _) = [json.loads(text) for text in (way.folder / "dead.ndjson").read_text().splitlines()]
    assert "answers 400" in dead["reason"]
    assert "some_exception" in dead["reason"]


def test_of_a_half_accepted_bulk_what_was_too_much_is_sent_again(elastic: FakeElastic, way: Way) -> None:
    elastic.refuses = refused("later", 429)
    way.courier.take([line(i, summary="later" if i == 2 else "fine") for i in range(5)])
    way.courier.work()
    assert (stored(elastic), len(way.spool)) == ([0, 1, 3, 4], 3)
    elastic.refuses = lambda _: None
    way.clock.now += 5
    way.courier.work()
    assert (stored(elastic), len(way.spool), way.dropped("refused")) == ([0, 1, 3, 4, 2], 0, 0)


def test_a_bulk_that_is_too_large_goes_one_by_one(elastic: FakeElastic, way: Way) -> None:
    elastic.max_bytes = 8000
    way.courier.take([line(i, summary="x" * (9000 if i == 1 else 10)) for i in range(4)])
    way.courier.work()
    assert stored(elastic) == [0, 2, 3]
    assert way.dropped("refused") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"authorization": "ApiKey other"}, r"status 401 .*unable to authenticate ApiKey \*\*\*"),
        ({"index": "elsewhere"}, "status 404 .*no such index"),
    ],
)
def test_what_an_operator_can_mend_sends_nothing_to_the_dead_letters(
    elastic: FakeElastic, opened: Callable[..., Sink], way: Way, change: dict[str, str], words: str
) -> None:
    for name, value in change.items():
        setattr(elastic, name, value)
    way.courier.take([line(1)])
    with pytest.raises(SinkRetryableError, match=words):
        opened().send(way.spool.peek(1))
    way.courier.work()
    assert (len(way.spool), way.dropped("refused")) == (1, 0)


def test_a_user_may_log_in(elastic: FakeElastic, opened: Callable[..., Sink], way: Way, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("pass word:ü\n")
    elastic.authorization = f"Basic {base64.b64encode('soc:pass word:ü'.encode()).decode()}"
    way.courier.take([line(1)])
    assert opened(username="soc", password_file=tmp_path / "password").send(way.spool.peek(1)) == 0
    assert stored(elastic) == [1]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"items":[]}', b'{"items":[{"index":{"status":201}}]}', b'{"items":[{"create":{}}]}']
)
def test_an_answer_that_is_no_bulks_is_no_success(
    body: bytes, http: HttpReceiverFake, opened: Callable[..., Sink], way: Way
) -> None:
    http.respond = lambda _: Said(200, body)
    way.courier.take([line(1)])
    with pytest.raises(SinkRetryableError, match=r"its answer to _bulk cannot be read|it answers for 0 of 1"):
        opened().send(way.spool.peek(1))
