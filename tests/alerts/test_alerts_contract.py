"""What every encoder and sender promises. They are found in the package: a new one is tested without being named."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from alert_lines import incident, line
from alert_parsers import READERS, read
from alert_parsers import texts as texts_of
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alerts.alert import Alert, Notice, read_incident
from monitor.alerts.open_sinks import encoders, senders
from monitor.alerts.outgoing import incident_alert
from monitor.alerts.sample import sample_incident
from monitor.alerts.sink import SinkPermanentError, SinkRetryableError, SinkSurroundings
from monitor.alerts.syslog_frame import HEADER_ROOM
from monitor.messages import EvidenceItem, ImplicatedItem, TopItem
from monitor.settings.sink_sections import SYSLOG_BYTES, SinkConfig, SinkType

ENCODERS = encoders()
SENDERS = senders()
LEAST = SinkConfig.model_fields["max_message_bytes"].metadata[0].ge - HEADER_ROOM

texts = st.text(max_size=40) | st.sampled_from(["\x00", "a\nb", '"]\\', "\u2028", "\x7f\x85", "\U0001f514", "<0>1 - -"])
values = texts | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
incidents = st.builds(
    incident,
    number=st.integers(0, 2**64),
    activity=st.sampled_from(["create", "update", "close"]),
    status=st.sampled_from(["suspected", "confirmed", "retracted", "resolved"]),
    model=texts.filter(bool),
    version=texts.filter(bool),
    summary=st.text(max_size=3000),
    severity=st.integers(0, 10),
    confidence=st.floats(0, 1),
    evidence=st.lists(
        st.builds(
            EvidenceItem,
            detector=texts,
            status=st.sampled_from(["ok", "fired", "error", "warming"]),
            score=st.floats(allow_nan=False, allow_infinity=False),
            threshold=st.floats(allow_nan=False, allow_infinity=False),
            top=st.lists(st.builds(TopItem, name=texts, contribution=st.floats(-1, 1)), max_size=5),
        ),
        max_size=12,
    ),
    implicated=st.builds(
        ImplicatedItem,
        features=st.dictionaries(texts, values, max_size=10),
        sources=st.lists(texts, max_size=60),
        events=st.lists(texts, max_size=100),
    ),
    atlas=st.lists(st.sampled_from(["AML.T0020", "AML.T0043.004", "AML.T9999"]), max_size=3, unique=True),
)


WHOLE = ("incident", "ocsf")
"""The formats that carry every field."""


def full(names: list[str]) -> ImplicatedItem:
    """What is implicated, each thing by these names."""
    return ImplicatedItem(
        features={name: name for name in names}, sources=names, origins=names, labels=names, events=names
    )


def keys(found: Any, path: str = "") -> set[str]:
    """The dotted names of all fields; those of features are what an attacker chooses."""
    if isinstance(found, list):
        return {key for item in found for key in keys(item, path)}
    if not isinstance(found, dict) or path.endswith("features"):
        return {path}
    return {key for name, value in found.items() for key in keys(value, f"{path}.{name}")}


def test_encoders_and_senders_are_found() -> None:
    assert {"ocsf", "incident", "ecs", "cef", "leef", "flat", "stix"} <= ENCODERS.keys()
    assert SETTINGS.keys() | {"memory"} == SENDERS.keys()


def test_the_configuration_knows_every_one_of_them() -> None:
    assert set(get_args(SinkConfig.model_fields["format"].annotation)) == set(ENCODERS)
    assert set(get_args(SinkType)) == set(SENDERS) - {"memory"}


@pytest.mark.parametrize("name", sorted(ENCODERS))
@settings(max_examples=40)
@given(told=incidents, limit=st.integers(LEAST, 20_000))
def test_an_alert_is_one_line_that_is_all_seen_within_the_limit(name: str, told: Any, limit: int) -> None:
    message = read_incident(msgspec.json.encode(told))
    body = ENCODERS[name]("1.2.3", limit).incident(message)
    assert len(body) <= limit
    assert body.decode().isprintable()
    assert body.isascii() or name in READERS
    found = list(texts_of(read(name, body)))
    assert message.id in found
    assert told.uid in found


@pytest.mark.parametrize("name", sorted(ENCODERS))
@settings(max_examples=40)
@given(model=texts, version=texts, summary=st.text(max_size=3000), hostile=st.lists(texts, max_size=3))
def test_what_an_incident_says_makes_no_field_of_its_own(
    name: str, model: str, version: str, summary: str, hostile: list[str]
) -> None:
    mild = read_incident(msgspec.json.encode(incident(7, implicated=full(["a"]), model="m", version="1", summary="s")))
    names = full([f"x{text}" for text in hostile] or ["a"])
    evil = read_incident(
        msgspec.json.encode(
            incident(7, implicated=names, model=f"m{model}", version=f"1{version}", summary=f"s{summary}")
        )
    )
    encoder = ENCODERS[name]("1.2.3", 10_000_000)
    assert keys(read(name, encoder.incident(evil))) == keys(read(name, encoder.incident(mild)))


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=40)
@given(told=incidents)
def test_an_alert_that_fits_holds_all_of_the_incident(name: str, told: Any) -> None:
    fields = json.loads(msgspec.json.encode(told))
    body = json.loads(ENCODERS[name]("1.2.3", 10_000_000).incident(read_incident(msgspec.json.encode(told))))
    assert "truncated" not in json.dumps(list(body))
    unmapped = body.get("unmapped", body)
    for field in ("family", "hypothesis", "status", "window", "alternatives", "implicated", "severity", "action"):
        assert unmapped[field] == fields[field]


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_an_alert_that_was_shortened_says_so(name: str) -> None:
    names = [f"sensor-{i:04d}" for i in range(300)]
    message = read_incident(line(implicated=ImplicatedItem(sources=names), summary="x" * 5000))
    body = ENCODERS[name]("1.2.3", 3000).incident(message)
    assert "truncated" in texts_of(read(name, body))


@pytest.mark.parametrize("name", WHOLE)
def test_an_alert_that_was_shortened_says_what_is_missing(name: str) -> None:
    events = [f"event-{i:04d}" for i in range(100)]
    message = read_incident(line(implicated=ImplicatedItem(events=events), summary="x" * 5000))
    body = json.loads(ENCODERS[name]("1.2.3", 3000).incident(message))
    truncated = body.get("unmapped", body)["truncated"]
    assert any(path.endswith("implicated.events after 10") for path in truncated)
    assert any(path.startswith("text over") for path in truncated)


@pytest.mark.parametrize("name", WHOLE)
def test_what_fired_is_kept_longer_than_what_did_not(name: str) -> None:
    top = [TopItem(f"a feature with a name {i}", 0.5) for i in range(10)]
    quiet = [EvidenceItem(f"quiet_{i}", "ok", 0.5, 1.0, 1.0, top) for i in range(12)]
    loud = EvidenceItem("loud", "fired", 9.0, 1.0, 1.0, top)
    implicated = ImplicatedItem(sources=["sensor-1"], events=[f"event-{i:020d}" for i in range(100)])
    message = read_incident(line(evidence=[*quiet, loud], implicated=implicated))
    body = ENCODERS[name]("1.2.3", SYSLOG_BYTES - HEADER_ROOM).incident(message)
    assert b"loud" in body
    assert b"a feature with a name 2" in body
    assert b"sensor-1" in body
    assert b"event-00000000000000000009" in body


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_the_longest_incident_fits_the_least_limit(name: str) -> None:
    bell = "\U0001f514"
    sources = ImplicatedItem(features={bell * 99: bell * 99}, sources=[bell * 99] * 99, events=[bell * 99] * 100)
    evidence = [EvidenceItem(bell * 99, "fired", 2.0, 1.0, None, [TopItem(bell * 99, 1.0)] * 9)] * 40
    told = line(summary=bell * 9999, model=bell * 128, version=bell * 128, implicated=sources, evidence=evidence)
    message = read_incident(told)
    body = ENCODERS[name]("1.2.3", LEAST).incident(message)
    assert len(body) <= LEAST
    assert message.id in texts_of(read(name, body))


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_the_same_incident_gives_the_same_bytes(name: str) -> None:
    first, second = (ENCODERS[name]("1.2.3", 9000).incident(read_incident(line(7))) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", WHOLE)
def test_fields_that_are_added_later_get_through(name: str) -> None:
    fields = json.loads(line()) | {
        "further": {"a": 1},
        "evidence": [{"detector": "new", "status": "odd", "score": None}],
    }
    body = json.loads(ENCODERS[name]("1.2.3", 9000).incident(read_incident(json.dumps(fields).encode())))
    assert body.get("unmapped", body)["further"] == {"a": 1}


@pytest.mark.parametrize("name", sorted(ENCODERS))
@given(text=st.text(max_size=5000), model=st.text(max_size=500))
def test_a_notice_is_one_line_within_the_limit(name: str, text: str, model: str) -> None:
    notice = Notice("suppressed-siem-1", 1767225600.0, 5, "12 alerts were not sent", text, {"models": {model: 12}})
    body = ENCODERS[name]("1.2.3", LEAST).notice(notice)
    assert len(body) <= LEAST
    assert body.decode().isprintable()
    assert "suppressed-siem-1" in " ".join(texts_of(read(name, body)))


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_the_test_alert_can_be_encoded(name: str) -> None:
    assert b"test" in ENCODERS[name]("1.2.3", LEAST).incident(read_incident(sample_incident(1767225600.25)))


NOWHERE = "127.0.0.1:1"
SETTINGS: dict[str, dict[str, Any]] = {
    "syslog_tcp": {"address": NOWHERE},
    "syslog_tls": {"address": NOWHERE},
    "syslog_udp": {"address": NOWHERE},
    "splunk_hec": {"url": f"http://{NOWHERE}", "token_file": "secret"},
    "webhook": {"url": f"http://{NOWHERE}/hook", "token_file": "secret", "secret_file": "secret"},
    "elastic": {"url": f"http://{NOWHERE}", "api_key_file": "secret"},
    "kafka": {"kafka": {"bootstrap_servers": [NOWHERE]}, "topic": "alerts"},
    "alertmanager": {"url": f"http://{NOWHERE}", "username": "soc", "password_file": "secret"},
    "file": {"path": "alerts.ndjson"},
    "stdout": {},
}
"""What each type needs, where nobody answers; files are in a folder of the test."""
SECRET = "b7f1-never-to-be-seen"  # noqa: S105 - guards nothing
HOSTILE = ["\r\nX-Evil: 1", '"}]}\n{"create":{}}', "\u202e|=^]\\", "x" * 100_000, "\x00\x1b[2J", "\u2028${alert}"]


def config(name: str, folder: Path) -> SinkConfig:
    (folder / "secret").write_text(SECRET)
    kind = name if name != "memory" else "stdout"
    settings = {
        key: folder / one if key.endswith("file") or key == "path" else one for key, one in SETTINGS[kind].items()
    }
    return SinkConfig(type=kind, **settings)  # type: ignore[arg-type]  # names found in the package


def alert() -> Alert:
    message = read_incident(line())
    return incident_alert(message, ENCODERS["ocsf"]("1", 9000).incident(message))


def hostile_alert(text: str, at: float) -> Alert:
    body = ENCODERS["incident"]("1", 9000).incident(read_incident(line(model=text, summary=text)))
    names = {"id": text, "incident": text, "model": text, "family": text, "activity": text, "status": text}
    return Alert(**names, severity=9, at=at, body=body)


@pytest.mark.parametrize("name", sorted(SENDERS))
def test_a_sender_takes_alerts_or_says_that_they_may_be_sent_again(name: str, tmp_path: Path) -> None:
    sink = SENDERS[name](config(name, tmp_path), SinkSurroundings("host", time.monotonic))
    for _ in range(2):
        begun = time.monotonic()
        with suppress(SinkRetryableError):
            assert sink.send([alert()]) in (0, 1)
        with suppress(SinkRetryableError):
            assert sink.send([]) in (0, 1)
        with suppress(SinkRetryableError):
            sink.close()
        sink.close()
        assert time.monotonic() - begun < 15


@pytest.mark.parametrize("name", sorted(SENDERS))
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_alert_makes_a_sender_fail_otherwise_than_as_a_sink(name: str, text: str, tmp_path: Path) -> None:
    sink = SENDERS[name](config(name, tmp_path), SinkSurroundings("host", time.monotonic))
    with suppress(SinkRetryableError, SinkPermanentError):
        sink.send([hostile_alert(text, 1e300), hostile_alert(text, -1e300)])
    with suppress(SinkRetryableError):
        sink.close()


@pytest.mark.parametrize("name", sorted(name for name in SENDERS if "secret" in str(SETTINGS.get(name))))
def test_no_secret_is_in_what_a_sender_says(name: str, tmp_path: Path) -> None:
    sink = SENDERS[name](config(name, tmp_path), SinkSurroundings("host", time.monotonic))
    with pytest.raises(SinkRetryableError, match=r"127\.0\.0\.1:1: Connection refused") as caught:
        sink.send([alert()])
    assert SECRET not in str(caught.value)
    (tmp_path / "secret").unlink()
    with pytest.raises(SinkRetryableError, match="cannot be read: No such file") as missing:
        sink.send([alert()])
    assert str(tmp_path / "secret") in str(missing.value)
