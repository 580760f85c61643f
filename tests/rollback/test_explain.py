"""An incident is explained from what lies in a state folder, and garbage there is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from theatre import PASSED, POISONED, PROMOTION, RETRAINING, ROLLBACK, Theatre

from monitor.incidents.explain import ExplainError, explain, timeline
from rollback.response.desk import Answer
from rollback.response.work import results_of
from rollback.tables.table import write_table

VERDICT = {"family": "poisoning", "confidence": 0.99}
OFFSETS = [{"topic": "soc", "partition": 0, "first": 5, "last": 9}]


def message(uid: str, **more: Any) -> dict[str, Any]:
    about = {"uid": uid, "model": "nids", "version": "2", "last_known_good": "1", "at": 7.0, "activity": "create"}
    what = {"family": "poisoning", "hypothesis": "backdoor", "confidence": 0.9, "status": "confirmed", "severity": 9}
    return {**about, **what, "summary": "It is poisoned. Roll back.", "action": [], **more}


def window(incident: str | None, index: int) -> dict[str, Any]:
    detectors = {
        "version_disagreement": {"status": "fired", "e_value": 1e6},
        "probing": {"status": "ok", "e_value": 1.0},
    }
    named = {"index": index, "first_id": "a", "last_id": "b", "incident": incident}
    return {**named, "detectors": detectors, "verdict": VERDICT, "offsets": OFFSETS}


def write(path: Path, *lines: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def told(theatre: Callable[..., Theatre]) -> Theatre:
    """A poisoning that was rolled back, retrained and promoted, with another incident beside it."""
    t = theatre()
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.run()
    t.desk.give(Answer(PROMOTION, "approve", "ann", reason="tested"))
    t.run()
    write(t.folder / "incidents.ndjson", message("i1"), message("x9"), message("i1", activity="update"))
    write(t.folder / "windows.ndjson", window(None, 0), window("i1", 1), window("x9", 2), window("i1", 3))
    request = {"incident": "i1", "id": "e7", "why": "is it benign?", "asked_at": "2026-11-22T00:00:00Z"}
    write(t.folder / "vetting.ndjson", request, {**request, "incident": "gate:2"})
    out = t.folder / "retraining" / results_of(RETRAINING)
    out.mkdir(parents=True)
    rows = {"id": ["a", "b", "c"], "reason": ["x"] * 3, "screen": ["slices", "slices", "loss"], "score": [1.0] * 3}
    write_table(out / "removed.parquet", rows)
    return t


def test_the_whole_chain_is_told_and_nothing_of_another_incident(told: Theatre) -> None:
    found = explain(told.folder, "i1", lambda _: told.registry)
    assert [w["index"] for w in found.windows] == [1, 3]
    assert [len(found.messages), len(found.requests)] == [2, 1]
    assert {r.body["case"]["key"] for r in found.records if "case" in r.body} == {ROLLBACK, RETRAINING, PROMOTION}
    assert found.removed == {RETRAINING: {"slices": 2, "loss": 1}}
    assert [(m.action, m.version) for m in found.moves][-3:] == [
        ("quarantine", "2"),
        ("rollback", "1"),
        ("promote", "3"),
    ]
    text = "\n".join(timeline(found))
    for part in (
        "incident i1: poisoning (backdoor), confirmed",
        "window 1, events a to b: poisoning, 0.990; fired: version_disagreement (e-value 1e+06); soc/0 5-9",
        "e7: is it benign?",
        "approve by ann: tested",
        "training rows removed by i1/retraining/2: 3",
        "missed: not looked for; tocsin hunt does",
        "quarantine 2 by tocsin",
    ):
        assert part in text
    assert json.loads(json.dumps(found.as_json()))["removed"] == found.removed


def test_what_a_hunt_has_found_is_told(told: Theatre) -> None:
    write(told.folder / "hunts" / "i1" / "summary.json", {"summary": "17 attacks passed."})
    assert "missed: 17 attacks passed." in timeline(explain(told.folder, "i1"))
    (told.folder / "hunts" / "i1" / "summary.json").write_text("[]")
    with pytest.raises(ExplainError, match=r"summary\.json: is no summary of a hunt"):
        explain(told.folder, "i1")


@pytest.mark.parametrize("uid", ["", "zz", "../i1"])
def test_a_uid_that_names_no_single_incident_is_refused(told: Theatre, uid: str) -> None:
    with pytest.raises(ExplainError, match="must name one incident"):
        explain(told.folder, uid)


def test_a_broken_line_is_named_and_one_that_is_being_written_is_not_there_yet(told: Theatre) -> None:
    path = told.folder / "windows.ndjson"
    path.write_text(path.read_text() + '{"index": 4')
    assert len(explain(told.folder, "i1").windows) == 2
    path.write_text(path.read_text() + "\n")
    with pytest.raises(ExplainError, match=r"windows\.ndjson: line 5: is no JSON"):
        explain(told.folder, "i1")


def test_a_folder_without_anything_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExplainError, match=r"incidents\.ndjson: 'i1' must name one incident; it fits: none"):
        explain(tmp_path, "i1")
