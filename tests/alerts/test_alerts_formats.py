"""Each format read by others' code: jc for CEF, stix2 for STIX, Elastic's field list for ECS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from alert_lines import line
from alert_parsers import read_cef, read_leef

from monitor.alerts.alert import Notice, read_incident
from monitor.alerts.encode.cef import CefEncoder
from monitor.alerts.encode.ecs import EcsEncoder
from monitor.alerts.encode.flat import FlatEncoder
from monitor.alerts.encode.leef import LeefEncoder
from monitor.alerts.encode.stix import StixEncoder
from monitor.alerts.samples import write
from monitor.messages import ActionTaken, ImplicatedItem

DONE = [ActionTaken("rollback", "1", "k", "done")]
NOTICE = Notice("suppressed-siem-1", 1767225600.0, 5, "12 alerts were not sent", "Too many.", {"models": {"nids": 12}})
ECS_FIELDS = dict(
    row.split(" ", 1) for row in (Path(__file__).parent / "ecs_fields.txt").read_text().splitlines() if row[:1] != "#"
)


def test_a_cef_record_says_what_the_incident_says() -> None:
    told = read_incident(line(action=DONE))
    found = read_cef(CefEncoder("1.2.3", 8000).incident(told))
    head = ("deviceVendor", "deviceProduct", "deviceVersion", "deviceEventClassId", "name", "agentSeverity")
    assert [found[name] for name in head] == [
        "Tocsin",
        "Tocsin",
        "1.2.3",
        "poisoning/backdoor",
        "backdoor in a model",
        "9",
    ]
    assert found["externalId"] == "0" * 32
    assert found["alertId"] == told.id
    assert found["model"] == "nids"
    assert found["modelVersion"] == "2"
    assert found["confidencePercent"] == "97"
    assert found["trigger"] == '{"port": 4444}'
    assert found["implicatedSources"] == '["sensor-7"]'
    assert found["action"] == "rollback to 1: done"
    assert found["mitreAtlas"] == "AML.T0020,AML.T0018.000"
    assert (found["rt"], found["start"]) == ("1767225700500", "1767225600000")


def test_a_leef_record_says_what_the_incident_says() -> None:
    told = read_incident(line(action=DONE, severity=0))
    found = read_leef(LeefEncoder("1.2.3", 8000).incident(told))
    assert found["event"] == "poisoning/backdoor"
    assert found["sev"] == "1"
    assert found["devTime"] == "1767225700500"
    assert found["resource"] == "nids"
    assert found["trigger"] == '{"port": 4444}'
    assert found["alertId"] == told.id


def test_a_caret_in_a_name_does_not_end_an_attribute() -> None:
    told = line(model="a^cat=stable", implicated=ImplicatedItem(sources=["b|^sev=1"]))
    found = read_leef(LeefEncoder("1.2.3", 8000).incident(read_incident(told)))
    assert found["resource"] == "a<U+005E>cat<U+003D>stable"
    assert found["cat"] == "poisoning"
    assert found["sources"] == '["b|<U+005E>sev<U+003D>1"]'


def test_flat_json_has_no_list_and_one_level_of_names() -> None:
    found = json.loads(FlatEncoder("1.2.3", 8000).incident(read_incident(line(action=DONE))))
    assert found["integration"] == "tocsin"
    assert all(isinstance(value, str | int | float) for value in found["tocsin"].values())
    assert found["tocsin"]["sources"] == '["sensor-7"]'
    assert found["tocsin"]["pages"] == "yes"
    assert found["tocsin"]["kind"] == "poisoning/backdoor"


@pytest.mark.parametrize("status", ["suspected", "confirmed", "retracted", "resolved"])
def test_every_field_of_an_ecs_document_is_in_the_schema_or_under_tocsin(status: str) -> None:
    body = EcsEncoder("1.2.3", 20_000).incident(read_incident(line(status=status, action=DONE)))
    _assert_ecs(json.loads(body))


def test_a_notice_is_an_ecs_document() -> None:
    _assert_ecs(json.loads(EcsEncoder("1.2.3", 20_000).notice(NOTICE)))


@pytest.mark.parametrize(
    ("status", "activity", "kind"),
    [("confirmed", "create", "alert"), ("suspected", "create", "state"), ("resolved", "close", "state")],
)
def test_only_what_pages_is_an_ecs_alert(status: str, activity: str, kind: str) -> None:
    body = EcsEncoder("1.2.3", 20_000).incident(read_incident(line(status=status, activity=activity)))
    assert json.loads(body)["event"]["kind"] == kind


def test_an_ecs_document_says_what_the_incident_says() -> None:
    told = read_incident(line())
    found = json.loads(EcsEncoder("1.2.3", 20_000).incident(told))
    assert found["@timestamp"] == "2026-01-01T00:01:40.500Z"
    assert found["event"]["id"] == told.id
    assert found["event"]["risk_score"] == 90
    assert found["rule"]["id"] == "poisoning/backdoor"
    assert found["threat"]["technique"]["id"] == ["AML.T0020", "AML.T0018.000"]
    assert found["tocsin"]["uid"] == "0" * 32


def test_a_stix_bundle_is_read_by_stix2() -> None:
    stix2 = pytest.importorskip("stix2", reason="bundles are checked with stix2: pip install 'tocsin[dev]'")
    told = read_incident(line(action=DONE))
    bundle = stix2.parse(StixEncoder("1.2.3", 20_000).incident(told).decode())
    by_type: dict[str, list[Any]] = {}
    for thing in bundle.objects:
        by_type.setdefault(thing.type, []).append(thing)
    assert {name: len(found) for name, found in by_type.items()} == {
        "identity": 1, "incident": 1, "note": 1, "attack-pattern": 2, "relationship": 2,
    }  # fmt: skip
    incident = by_type["incident"][0]
    assert incident.external_references[1].external_id == told.id
    assert "rollback to 1: done" in by_type["note"][0].content
    assert {r.target_ref for r in by_type["relationship"]} == {p.id for p in by_type["attack-pattern"]}
    assert stix2.parse(StixEncoder("1.2.3", 20_000).notice(NOTICE).decode()).objects[1].type == "note"


def test_a_shortened_stix_bundle_is_read_by_stix2() -> None:
    stix2 = pytest.importorskip("stix2", reason="bundles are checked with stix2: pip install 'tocsin[dev]'")
    body = StixEncoder("1.2.3", 3000).incident(read_incident(line(summary="x" * 9000)))
    incident = next(thing for thing in stix2.parse(body.decode()).objects if thing.type == "incident")
    assert "truncated" in incident.labels


def test_an_incident_keeps_its_stix_id_and_is_revoked_where_it_is_retracted() -> None:
    encoder = StixEncoder("1.2.3", 20_000)
    first, last = (
        json.loads(encoder.incident(read_incident(line(activity=activity, status=status, at=at))))["objects"][1]
        for activity, status, at in (("create", "confirmed", 1767225700.5), ("close", "retracted", 1767225800.0))
    )
    assert first["id"] == last["id"]
    assert first["created"] == last["created"]
    assert first["modified"] < last["modified"]
    assert ("revoked" in first, last["revoked"]) == (False, True)


def _assert_ecs(document: dict[str, Any]) -> None:
    for path, value in _leaves(document):
        if path.split(".")[0] == "tocsin":
            continue
        assert path in ECS_FIELDS, f"{path} is no field of ECS"
        kinds = {"string": str, "number": (int, float)}
        for item in value if isinstance(value, list) else [value]:
            assert isinstance(item, kinds[ECS_FIELDS[path].split()[0]]), path
        assert not isinstance(value, list) or ECS_FIELDS[path].endswith("list"), path


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(path, value)]
    return [leaf for name, item in value.items() for leaf in _leaves(item, f"{path}.{name}" if path else name)]


def test_the_samples_that_are_published_are_what_is_sent(tmp_path: Path) -> None:
    published = Path(__file__).parents[2] / "docs" / "siem" / "samples"
    found = {path.name: path.read_bytes() for path in published.iterdir()}
    assert {path.name: path.read_bytes() for path in write(tmp_path)} == found, "run: make schemas"
