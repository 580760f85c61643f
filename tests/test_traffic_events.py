"""Flows as tables and as events."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monitor.demo.flows import FEATURES, Flows, feedback_events, from_table, inference_events, table
from monitor.demo.traffic import TrafficConfig, generate


@pytest.fixture(scope="module")
def flows() -> Flows:
    return generate(TrafficConfig(), np.random.default_rng(0), 500, 1.7e9)


def test_an_inference_event_carries_the_flow_as_the_contract_names_it(flows: Flows) -> None:
    scores = np.tile([0.25, 0.75], (len(flows), 1))
    events = [json.loads(e) for e in inference_events(flows, scores, model="nids", version="3")]
    assert len(events) == len(flows)
    first = events[0]
    assert set(first) == {"id", "ts", "model", "version", "source", "session", "features", "scores"}
    assert (first["model"], first["version"], first["scores"]) == ("nids", "3", [0.25, 0.75])
    assert (first["id"], first["ts"], first["source"]) == (flows.id[0], flows.ts[0], flows.source[0])
    assert list(first["features"]) == list(FEATURES)
    assert [e["features"]["service"] for e in events] == flows.x["service"].tolist()
    assert [e["features"]["bytes_in"] for e in events] == flows.x["bytes_in"].tolist()


def test_a_missing_number_is_null_in_an_event(flows: Flows) -> None:
    events = inference_events(flows, np.zeros((len(flows), 2)), model="m", version="1")
    sent = [json.loads(e)["features"]["payload_entropy"] for e in events]
    missing = np.isnan(flows.x["payload_entropy"])
    assert missing.any()
    assert [value is None for value in sent] == missing.tolist()


def test_feedback_gives_the_truth_later_unless_other_labels_are_given(flows: Flows) -> None:
    honest = [json.loads(e) for e in feedback_events(flows, origin="analyst", delay=60.0)]
    assert [e["label"] for e in honest] == flows.label.tolist()
    assert honest[0] == {
        "id": flows.id[0],
        "ts": pytest.approx(flows.ts[0] + 60),
        "label": flows.label[0],
        "origin": "analyst",
    }
    lies = feedback_events(flows, origin="feed", delay=np.zeros(len(flows)), labels=["benign"] * len(flows))
    assert {json.loads(e)["label"] for e in lies} == {"benign"}


def test_a_table_goes_back_to_the_same_flows(flows: Flows) -> None:
    again = from_table(table(flows, family=True))
    for name in flows.arrays():
        assert getattr(again, name).tobytes() == getattr(flows, name).tobytes(), name


def test_the_family_is_in_the_table_only_where_it_is_asked_for(flows: Flows) -> None:
    assert "family" not in table(flows)
    assert table(flows, family=True)["family"].tolist() == flows.family.tolist()
