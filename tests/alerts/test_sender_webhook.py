"""Webhooks: what is posted, signed and templated, and that nothing breaks out of JSON, a header or the address."""

from __future__ import annotations

import base64
import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alert_lines import Way, line
from alert_lines import alert as plain_alert
from http_receivers import Asked, HttpReceiverFake, Said
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts.alert import Alert
from monitor.alerts.open_sinks import open_sink
from monitor.alerts.sink import Sink, SinkPermanentError, SinkRetryableError
from monitor.alerts.template import TemplateError, fill, read_template
from monitor.settings.sink_sections import SinkConfig

SECRET = "a-secret-of-at-least-some-length"  # noqa: S105 - signs what a test sends
TOKEN = "t0ken"  # noqa: S105 - likewise
NOW = 1_700_000_000.0
EXAMPLE = Path(__file__).parents[2] / "docs" / "siem" / "verify_webhook.py"
spec = importlib.util.spec_from_file_location("verify_webhook", EXAMPLE)
assert spec is not None
assert spec.loader is not None
verify = importlib.util.module_from_spec(spec)
spec.loader.exec_module(verify)


def taken(_: Asked) -> Said:
    return Said(204)


@pytest.fixture
def hook() -> Iterator[HttpReceiverFake]:
    with HttpReceiverFake(taken) as running:
        yield running


Opened = Callable[..., Sink]


@pytest.fixture
def opened(hook: HttpReceiverFake, tmp_path: Path) -> Opened:
    def make(**settings: Any) -> Sink:
        for name in [name for name in settings if name.endswith("_file")]:
            (tmp_path / name).write_text(settings[name])
            settings[name] = tmp_path / name
        if "url_file" not in settings:
            settings["url"] = settings.get("url", f"{hook.url}/hooks/soc/?team=blue")
        return open_sink(SinkConfig(type="webhook", **settings), time.monotonic, lambda: NOW)

    return make


def alert(number: int = 1, **changes: Any) -> Alert:
    body = b'{"summary":"Roll back.","unmapped":{"port":4444}}'
    return plain_alert(number, **{"at": 1767225700.5, "body": body, **changes})


def test_an_alert_is_posted_as_json_with_its_id(hook: HttpReceiverFake, opened: Opened) -> None:
    assert opened(headers={"X-Team": "blue"}, token_file=f"{TOKEN}\n").send([alert(1), alert(2)]) == 0
    first, second = hook.asked
    assert (first.path, first.body) == ("/hooks/soc/?team=blue", alert().body)
    expected = {
        "content-type": "application/json",
        "authorization": "Bearer t0ken",
        "webhook-id": "alert-1",
        "idempotency-key": "alert-1",
        "webhook-timestamp": "1700000000",
        "x-team": "blue",
    }
    assert expected.items() <= first.headers.items()
    assert "webhook-signature" not in first.headers
    assert second.headers["webhook-id"] == "alert-2"


@pytest.mark.parametrize("secret", [SECRET, "whsec_" + base64.b64encode(b"\x00\xff binary").decode()])
def test_the_documented_check_takes_what_is_signed_and_nothing_else(
    secret: str, hook: HttpReceiverFake, opened: Opened
) -> None:
    opened(secret_file=secret).send([alert()])
    (asked,) = hook.asked
    assert verify.is_genuine(asked.headers, asked.body, secret, NOW)
    assert not verify.is_genuine(asked.headers, asked.body + b" ", secret, NOW)
    assert not verify.is_genuine(asked.headers, asked.body, SECRET + "x", NOW)
    assert not verify.is_genuine(asked.headers, asked.body, secret, NOW + 301)
    assert not verify.is_genuine({**asked.headers, "webhook-id": "alert-2"}, asked.body, secret, NOW)


def test_an_id_cannot_add_a_header_or_end_the_signed_part(hook: HttpReceiverFake, opened: Opened) -> None:
    opened(secret_file=SECRET).send([alert(id="a.1\r\nX-Evil: yes"), alert(id="b" * 100_000)])
    first, second = hook.asked
    assert first.headers["webhook-id"] == "a%2E1%0D%0AX-Evil%3A%20yes"
    assert "x-evil" not in first.headers
    assert len(second.headers["webhook-id"]) == 32


def test_a_template_is_filled(hook: HttpReceiverFake, opened: Opened) -> None:
    template = {
        "text": "${grade}: ${alert.summary} (${alert.unmapped}, ${alert.none}) $${",
        "severity": "${severity}",
        "all": ["${alert}", {"none": "${alert.unmapped.none}"}],
    }
    opened(template_file=json.dumps(template)).send([alert()])
    assert json.loads(hook.asked[0].body) == {
        "text": 'critical: Roll back. ({"port":4444}, ) $${',
        "severity": 9,
        "all": [json.loads(alert().body), {"none": None}],
    }


@given(texts=st.lists(st.text(), min_size=5, max_size=5))
def test_no_value_changes_what_a_template_is_made_of(texts: list[str]) -> None:
    template = read_template('{"a": "x ${model} y", "b": ["${family}", {"c": "${alert.s}"}], "n": 1}')
    model, family, status, said, uid = texts
    body = json.dumps({"s": said}).encode()
    found = json.loads(fill(template, alert(id=uid, model=model, family=family, status=status, body=body)))
    assert found == {"a": f"x {model} y", "b": [family, {"c": said}], "n": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "it is no JSON"),
        ('{"a": NaN}', "it is no JSON: NaN is no number"),
        ("[" * 100_000, "it is no JSON"),
        ('{"a": "${modell}"}', r"\$\{modell\} is nothing that an alert has: choose from id"),
        ('{"${alerts.x}": 1}', "is nothing that an alert has"),
    ],
)
def test_a_template_that_is_wrong_is_said_and_alerts_wait(text: str, words: str, opened: Opened) -> None:
    with pytest.raises(TemplateError, match=words):
        read_template(text)
    with pytest.raises(SinkRetryableError, match=r"template_file .* cannot be used: "):
        opened(template_file=text).send([alert()])


def test_redirects_are_not_followed_with_what_is_secret(hook: HttpReceiverFake, opened: Opened) -> None:
    with HttpReceiverFake(taken) as other:
        hook.respond = lambda _: Said(307, b"", {"Location": f"{other.url}/stolen"})
        with pytest.raises(SinkRetryableError, match="status 307; redirects are not followed"):
            opened(token_file=TOKEN, secret_file=SECRET).send([alert()])
        assert other.asked == []


def test_proxies_of_the_environment_are_not_used(
    hook: HttpReceiverFake, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert opened().send([alert()]) == 0


def test_what_is_secret_is_blacked_out_where_the_receiver_echoes_it(hook: HttpReceiverFake, opened: Opened) -> None:
    hook.respond = lambda asked: Said(403, f"bad {asked.headers['authorization']} at {asked.path}\x1b[2J".encode())
    with pytest.raises(SinkRetryableError, match=r"status 403 \(bad Bearer \*\*\* at \*\*\* \[2J\)") as caught:
        opened(url_file=f"{hook.url}/services/T0/s3cret", token_file=TOKEN).send([alert()])
    assert "s3cret" not in str(caught.value)


def test_so_is_a_part_of_a_secret_address(hook: HttpReceiverFake, opened: Opened) -> None:
    hook.respond = lambda _: Said(404, b"no hook T0KEN-OF-HOOK, no s1gnature!")
    with pytest.raises(SinkRetryableError, match=r"status 404 \(no hook \*\*\*, no \*\*\*!\)"):
        opened(url_file=f"{hook.url}/services/T0KEN-OF-HOOK?sig=s1gnature").send([alert()])


@pytest.mark.parametrize("said", ["", "soon", "Wed, 21 Oct 99999999999999999999 07:28:00 GMT", "9" * 5000, "-7"])
def test_a_receiver_that_asks_for_an_odd_time_is_tried_again(said: str, hook: HttpReceiverFake, opened: Opened) -> None:
    hook.respond = lambda _: Said(503, b"", {"Retry-After": said})
    with pytest.raises(SinkRetryableError, match="status 503") as caught:
        opened().send([alert()])
    assert caught.value.wait_seconds == 0.0


def test_a_file_that_holds_no_url_is_said_without_what_it_holds(opened: Opened) -> None:
    with pytest.raises(SinkRetryableError, match=r"url_file .* must hold http") as caught:
        opened(url_file="hooks.example/s3cret").send([alert()])
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, SinkPermanentError),
        (413, SinkPermanentError),
        (422, SinkPermanentError),
        (401, SinkRetryableError),
        (404, SinkRetryableError),
        (408, SinkRetryableError),
        (409, SinkRetryableError),
        (429, SinkRetryableError),
        (500, SinkRetryableError),
        (503, SinkRetryableError),
    ],
)
def test_a_status_says_whether_to_try_again(
    status: int, kind: type[Exception], hook: HttpReceiverFake, opened: Opened
) -> None:
    hook.respond = lambda _: Said(status)
    with pytest.raises(kind, match=f"status {status}"):
        opened().send([alert()])


def test_what_was_taken_before_a_failure_is_not_sent_again(
    hook: HttpReceiverFake, opened: Opened, tmp_path: Path
) -> None:
    away = {3}

    def respond(asked: Asked) -> Said:
        number = int(json.loads(asked.body)["finding_info"]["uid"], 16)
        if number == 1:
            return Said(422, b"never")
        return Said(503, b"", {"Retry-After": "7"}) if number in away else Said(200)

    hook.respond = respond
    way = Way(tmp_path / "spool", opened())
    way.courier.take([line(i) for i in range(5)])
    for _ in range(9):
        way.courier.work()
    away.clear()
    way.clock.now += 6
    way.courier.work()
    assert len(way.spool) == 2, "it asked for seven seconds"
    way.clock.now += 2
    way.courier.work()
    posted = [int(json.loads(asked.body)["finding_info"]["uid"], 16) for asked in hook.asked]
    assert posted == [0, 1, 2, 3, 3, 4]
    assert (way.value("sent_total"), way.dropped("refused"), len(way.spool)) == (4, 1, 0)
