"""Ten thousand texts that want to break out, in every field of every format, read back by parsers that are not ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import syslog_ng_parser
from alert_parsers import read, read_cef, read_leef
from hostile_strings import SURROGATES, escaped_incident, hostile, hostile_incident
from hypothesis import given
from hypothesis import strategies as st
from vetting_material import request

from monitor.alerts.alert import UnreadableIncidentError, read_incident
from monitor.alerts.encoder import Encoder
from monitor.alerts.open_sinks import encoders
from monitor.alerts.outgoing import incident_alert
from monitor.alerts.syslog_frame import message
from monitor.alerts.vetting_requests import request_body
from monitor.messages import VettingRequest

STRINGS = 10_000
SEED = 8
LIMIT = 65_536
"""Bytes of a body; what is longer than that is cut, and says so."""
ENCODERS = encoders()
MARKS = {"truncated", "flexNumber1"}
"""Fields of ours that only a shortened alert has."""

everything = st.text(max_size=200) | st.sampled_from(list(hostile(120, SEED)))


def names(found: Any, path: str = "") -> set[str]:
    """The dotted names of all fields, but for those below `features`: these are the events' own."""
    if isinstance(found, list):
        return {name for item in found for name in names(item, path)}
    if not isinstance(found, dict) or path.endswith("features"):
        return {path}
    return {name for key, value in found.items() for name in names(value, f"{path}.{key}")}


def encoder(name: str) -> Encoder:
    return ENCODERS[name]("1.2.3", LIMIT)


def ours(name: str, found: dict[str, Any]) -> list[Any]:
    """What no event may change, whatever it holds: incident, status, severity, family."""
    paths: dict[str, Sequence[str]] = {
        "incident": ("uid", "activity", "status", "severity", "family"),
        "ocsf": ("finding_info.uid", "status_id", "severity_id", "activity_id", "is_alert", "finding_info.types.0"),
        "ecs": ("tocsin.uid", "event.kind", "event.severity", "tocsin.status", "tocsin.family", "event.action"),
        "flat": ("tocsin.uid", "tocsin.status", "tocsin.severity", "tocsin.family", "tocsin.pages", "integration"),
        "cef": ("externalId", "outcome", "agentSeverity", "cat", "act", "deviceVendor", "deviceProduct", "name"),
        "leef": ("incident", "status", "sev", "cat", "activity", "vendor", "product", "event"),
        "stix": ("type", "objects.0.id", "objects.1.id", "objects.1.type", "objects.1.created"),
    }
    values = []
    for path in paths[name]:
        value: Any = found
        for part in path.split("."):
            value = value[int(part) if part.isdigit() else part]
        values.append(value)
    return values


def injected(name: str, text: str, body: bytes, mild: dict[str, Any]) -> str | None:
    """What is wrong with an alert that holds the text; None where nothing is."""
    lines = body.decode().splitlines()
    if len(lines) != 1 or not lines[0].isprintable():
        return "it is not one line of what is seen"
    found = read(name, body)
    more = {each for each in names(found) - names(mild) if each.rpartition(".")[2] not in MARKS}
    less = names(mild) - names(found) if len(text) < 1000 else set()
    if more or less:
        return f"fields more: {sorted(more)}, fewer: {sorted(less)}"
    return None if ours(name, found) == ours(name, mild) else f"{ours(name, found)} instead of {ours(name, mild)}"


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_no_text_makes_a_field_or_a_record_in_any_format(name: str) -> None:
    make = encoder(name)
    mild = read(name, make.incident(read_incident(hostile_incident("a"))))
    wrong = []
    for text in hostile(STRINGS, SEED):
        body = make.incident(read_incident(hostile_incident(text)))
        if problem := injected(name, text, body, mild):
            wrong.append((text[:60], problem))
    assert wrong[:3] == []


@pytest.mark.parametrize("name", sorted(ENCODERS))
@given(text=everything)
def test_nor_does_any_other(name: str, text: str) -> None:
    mild = read(name, encoder(name).incident(read_incident(hostile_incident("a"))))
    body = encoder(name).incident(read_incident(hostile_incident(f"a{text}")))
    assert injected(name, text, body, mild) is None


def test_syslog_ng_finds_our_fields_and_no_others_in_syslog_messages_and_leef(tmp_path: Path) -> None:
    make = encoder("leef")
    texts = ["a", *hostile(STRINGS, SEED)]
    told = [read_incident(hostile_incident(text)) for text in texts]
    sent = [message(incident_alert(each, make.incident(each)), 16, "watcher") for each in told]
    mild, *found = syslog_ng_parser.read(sent, tmp_path / "syslog-ng")
    assert len(found) == STRINGS
    wrong = []
    for text, record in zip(texts[1:], found, strict=True):
        expected = set(mild["pairs"]) - (set(record["pairs"]) ^ set(mild["pairs"]) if len(text) > 1000 else set())
        same = all(record["pairs"][key] == mild["pairs"][key] for key in ("incident", "status", "sev", "cat"))
        if set(record["pairs"]) - {"truncated"} != expected or not same or record["head"]["leef"] != "LEEF:2.0":
            wrong.append((text[:60], record["pairs"]))
        if names(record["_SDATA"]) != names(mild["_SDATA"]) or record["MSGID"] != mild["MSGID"]:
            wrong.append((text[:60], record["_SDATA"]))
    assert wrong[:3] == []


def test_no_text_makes_a_field_or_a_record_in_a_question_and_an_answer_can_always_name_the_event() -> None:
    wrong = []
    for text in hostile(STRINGS, SEED):
        asked = request(text[:200], incident=text[:200], why=text, features={text: text}, ref=text, model=text[:200])
        body = request_body(asked, LIMIT)
        told = json.loads(body)
        marks = {"alert_id", "truncated"} if len(text) > 1000 else {"alert_id"}
        named = all(told[name] == getattr(asked, name) for name in ("id", "incident", "model", "scores", "deadline"))
        if told.keys() - set(VettingRequest.__struct_fields__) - marks or not named or not body.decode().isprintable():
            wrong.append((text[:60], sorted(told)))
    assert wrong[:3] == []


def test_every_bundle_is_stix_for_stix2() -> None:
    stix2 = pytest.importorskip("stix2", reason="bundles are checked with stix2: pip install 'tocsin[dev]'")
    mild = json.loads(encoder("stix").incident(read_incident(hostile_incident("a"))))
    for text in hostile(120, SEED):
        bundle = stix2.parse(encoder("stix").incident(read_incident(hostile_incident(text))).decode())
        assert [thing.id for thing in bundle.objects][:2] == [thing["id"] for thing in mild["objects"]][:2]
        assert [thing.type for thing in bundle.objects] == [thing["type"] for thing in mild["objects"]]


@pytest.mark.parametrize("text", SURROGATES)
def test_a_line_that_escapes_half_a_character_is_no_incident(text: str) -> None:
    with pytest.raises(UnreadableIncidentError):
        read_incident(escaped_incident(text))


def test_what_was_written_out_can_still_be_read_by_a_person() -> None:
    told = read_incident(hostile_incident("a\n\u202eb|c^d=e"))
    assert read_cef(encoder("cef").incident(told))["modelVersion"] == "a<U+000A><U+202E>b|c^d=e"
    assert read_leef(encoder("leef").incident(told))["modelVersion"] == ("a<U+000A><U+202E>b|c<U+005E>d<U+003D>e")
