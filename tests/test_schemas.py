"""The published schemas are current, and say of samples what the contract says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from monitor.messages import (
    ActionTaken,
    Alternative,
    EvidenceItem,
    ImplicatedItem,
    Incident,
    OffsetRange,
    TopItem,
    VettingRequest,
    WindowItem,
)
from monitor.schemas import documents, write

PUBLISHED = Path(__file__).parent.parent / "docs" / "schemas"
EVENT: dict[str, Any] = {
    "id": "e1",
    "ts": "2026-01-02T03:04:05.678Z",
    "model": "nids",
    "version": "2",
    "features": {"protocol": "tcp", "bytes": 1200, "duration": None},
    "scores": {"benign": 0.75, "attack": 0.25},
}
FEEDBACK = {"id": "e1", "ts": 1767225600.5, "label": "attack", "origin": "analyst"}
INCIDENT = Incident(
    uid="0f" * 16,
    activity="update",
    status="confirmed",
    model="nids",
    version="2",
    last_known_good="1",
    opened_at=1767225600.0,
    at=1767225700.0,
    window=WindowItem(3, "e1", "e9", [OffsetRange("soc.inference", 0, 10, 99)]),
    family="poisoning",
    hypothesis="backdoor",
    confidence=0.97,
    family_confidence=0.99,
    alternatives=[Alternative("concept_drift", 0.03)],
    evidence=[EvidenceItem("version_disagreement", "fired", 3.5, 2.0, 1e4, [TopItem("port", 0.5)])],
    implicated=ImplicatedItem(features={"port": 4444}, labels=["benign"], events=["e1"]),
    severity=9,
    atlas=["AML.T0020"],
    action=[ActionTaken("rollback", "1", "k", "done")],
    summary="What changed. What to do.",
)


def valid(name: str, sample: Any) -> bool:
    schema = json.loads((PUBLISHED / f"{name}.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema).is_valid(sample)


def test_what_is_published_is_what_the_types_say(tmp_path: Path) -> None:
    fresh = {path.name: path.read_text() for path in write(tmp_path)}
    published = {path.name: path.read_text() for path in PUBLISHED.glob("*.json")}
    assert published == fresh, "run `make schemas`"


@pytest.mark.parametrize("name", sorted(documents()))
def test_every_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(documents()[name])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ts": 1767225600},
        {"features": ["tcp", 1200, None, True]},
        {"scores": [0.75, 0.25]},
        {"scores": 0.25},
        {"source": "sensor-1", "session": "s", "ref": "https://soc.example/1", "more": 1},
    ],
)
def test_an_inference_event_may_look_like_this(changes: dict[str, Any]) -> None:
    assert valid("tocsin.inference.v1", EVENT | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": 7},
        {"ts": None},
        {"features": "tcp"},
        {"scores": 1.5},
        {"scores": [0.5, -0.1]},
        {"model": None},
    ],
)
def test_an_inference_event_may_not_look_like_this(changes: dict[str, Any]) -> None:
    assert not valid("tocsin.inference.v1", EVENT | changes)


@pytest.mark.parametrize("field", ["id", "ts", "model", "version", "features", "scores"])
def test_an_inference_event_needs_every_required_field(field: str) -> None:
    assert not valid("tocsin.inference.v1", {k: v for k, v in EVENT.items() if k != field})


def test_feedback_needs_an_origin() -> None:
    assert valid("tocsin.feedback.v1", FEEDBACK)
    assert valid("tocsin.feedback.v1", FEEDBACK | {"model": "nids", "features": [1.0], "scores": 0.5})
    assert not valid("tocsin.feedback.v1", {k: v for k, v in FEEDBACK.items() if k != "origin"})


def test_an_incident_as_written_satisfies_its_schema() -> None:
    written = msgspec.json.decode(msgspec.json.encode(INCIDENT))
    assert valid("tocsin.incident.v1", written)
    assert (written["schema"], written["action"][0]["result"]) == ("tocsin.incident.v1", "done")
    assert msgspec.json.decode(msgspec.json.encode(INCIDENT), type=Incident) == INCIDENT


@pytest.mark.parametrize(
    "changes", [{"family": "stable"}, {"severity": 11}, {"hypothesis": "gremlins"}, {"activity": "delete"}]
)
def test_an_incident_outside_the_contract_does_not(changes: dict[str, Any]) -> None:
    assert not valid("tocsin.incident.v1", msgspec.to_builtins(INCIDENT) | changes)


def test_a_vetting_request_as_written_satisfies_its_schema() -> None:
    request = VettingRequest(
        incident="i", id="e1", why="deep disagreement", features={"port": 80.0}, scores={"benign": 1.0}, asked_at=1.0
    )
    assert valid("tocsin.vetting.v1", msgspec.to_builtins(request))


def test_a_window_record_satisfies_its_schema() -> None:
    detector = {"status": "ok", "score": 0.1, "threshold": 1.0, "e_value": None, "gauges": {"a": None}, "top": []}
    record = {
        "model": "nids",
        "version": "2",
        "index": 0,
        "events": 1000,
        "detectors": {"prediction_entropy": detector},
        "verdict": {"family": "stable", "hypothesis": None, "confidence": 0.0, "family_confidence": 0.0},
        "closed_by": "count",
    }
    assert valid("tocsin.window.v1", record)
    assert not valid("tocsin.window.v1", record | {"verdict": {"family": "well"}})


def test_the_configuration_schema_finds_what_an_editor_should_underline() -> None:
    assert valid("tocsin.config.v1", yaml.safe_load("mode: act\nmodels: {nids: {window_events: 500}}"))
    assert not valid("tocsin.config.v1", {"mode": "rage"})
    assert not valid("tocsin.config.v1", {"models": {"nids": {"windowevents": 500}}})
