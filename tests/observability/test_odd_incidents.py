"""The report tells the truth about incidents that are not the usual story."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from report_words import words
from told_state import CASE, START, UID, messages, tell, window, write_lines

from monitor.messages import ActionTaken, Alternative
from monitor.report.findings import importances, strengths, weights
from monitor.report.make import trial_keys
from monitor.report.material import Material, gather
from monitor.report.next_steps import standing, steps
from monitor.report.page import render
from monitor.report.pictures import course
from monitor.report.story import timeline
from monitor.report.windows import read_around
from monitor.report.words import percent
from rollback.audit.log import AuditLog
from rollback.registry.registry import Move
from rollback.signing.keys import Keys

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MOST_BYTES = 1_000_000


def material(state: Path) -> Material:
    return gather(state, "49f0", lambda: trial_keys(state))


def page(state: Path) -> str:
    return words(render(material(state), NOW, "tocsin.yaml"))


def told(state: Path, *changed: dict[str, Any]) -> Path:
    """The usual state, with other messages: each set of changes is one."""
    tell(state)
    write_lines(state / "incidents.ndjson", [msgspec.structs.replace(messages()[-1], **each) for each in changed])
    return state


def acted(result: str, action: str = "rollback", detail: str = "the server answers 503") -> list[ActionTaken]:
    return [ActionTaken(action, "1", f"{UID}/{action}/2/1", result, detail)]  # type: ignore[arg-type]


def test_a_suspicion_claims_no_explanation_and_its_probabilities_are_of_one_whole(tmp_path: Path) -> None:
    alternatives = [Alternative("backdoor", 0.5), Alternative("new_class", 0.5)]
    unsure = {"family": "inconclusive", "hypothesis": None, "status": "suspected", "confidence": 0.5}
    suspected: dict[str, Any] = {"activity": "create", **unsure}
    state = told(tmp_path, {**suspected, "alternatives": alternatives, "action": [], "decider": "4 labels of e7"})
    said = page(state)
    assert weights(material(state).last) == [("backdoor", 0.5), ("new class", 0.5)]
    for part in (
        "Nothing was done by Tocsin. The incident is open, only suspected so far: nobody is paged",
        "Likeliest explanation 50.0%",
        "What would decide it: 4 labels of e7.",
        "opened as inconclusive, suspected, likeliest explanation 50.0%",
    ):
        assert part in said
    assert "Confidence" not in said
    assert "tocsin hunt --config" not in said


def test_what_was_closed_by_hand_says_by_whom_why_and_when(tmp_path: Path) -> None:
    last = {
        "activity": "close",
        "status": "resolved",
        "close_reason": "a test of ours",
        "closed_by": "ann",
        "action": [],
    }
    said = page(told(tmp_path, {}, last))
    assert "Closed by ann as resolved (2026-01-01 21:09:56 UTC): a test of ours." in said
    assert "Incident closed as poisoning (backdoor), resolved, confidence 97.0%, by ann: a test of ours" in said
    assert "The incident is closed. Keep this page with the case." in said
    assert "tocsin incidents close" not in said


def test_the_order_to_close_is_a_record_of_the_audit_log(tmp_path: Path) -> None:
    state = tell(tmp_path)
    log = AuditLog(state / "audit.ndjson", lambda: START + 200, Keys.trial(state))
    log.append("incident_closed", {"incident": UID, "by": "ann", "reason": "a test", "order": "o1", "given_at": START})
    log.close()
    assert "closed by hand, ordered by ann: a test" in page(state)
    assert "The audit log is what was written" in page(state)


@pytest.mark.parametrize(
    ("result", "stands", "next_step"),
    [
        ("proposed", "waits for approval", "tocsin response approve --config tocsin.yaml"),
        ("running", "is under way", "Wait: the rollback is under way (the server answers 503)."),
        ("halted", "is halted", "The rollback is halted: the server answers 503. Mend that, then let it go on."),
        ("declined", "was declined", ""),
        ("withdrawn", "was withdrawn", ""),
        ("done", "is done", ""),
    ],
)
def test_every_end_of_an_action_is_called_what_it_is(tmp_path: Path, result: str, stands: str, next_step: str) -> None:
    said = page(told(tmp_path, {"action": acted(result)}))
    assert f"How it stands Rollback to version 1 {stands}. The incident is open." in said
    assert next_step in said
    assert f"rollback to version 1: {result}" in said


def test_a_retraining_that_failed_says_what_to_look_at(tmp_path: Path) -> None:
    action = acted("rejected", "retraining", "15 of 17 checks passed")
    said = page(told(tmp_path, {"action": action}))
    assert "Retraining (version 1) was rejected." in said
    assert "The candidate of the retraining did not pass: 15 of 17 checks passed." in said


def test_a_concept_drift_has_no_trigger_and_nobody_hunts(tmp_path: Path) -> None:
    drift = {"family": "drift", "hypothesis": "concept_drift", "action": [], "atlas": [], "severity": 3}
    nothing = msgspec.structs.replace(messages()[-1].implicated, features={})
    said = page(told(tmp_path, {**drift, "implicated": nothing}))
    assert "drift (concept drift)" in said
    assert "Values that stand out" in said
    assert "The trigger Values" not in said
    assert "Other patterns of the training buffer that were looked at" in said
    assert "Missed meanwhile" not in said
    assert "tocsin hunt --config" not in said


def test_fields_of_a_newer_version_are_let_be(tmp_path: Path) -> None:
    state = tell(tmp_path)
    before = page(state)
    for name in ("incidents", "windows", "vetting"):
        path = state / f"{name}.ndjson"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        write_lines(path, [{**line, "newer": {"a": [1]}, "colour": None} for line in lines])
    assert page(state) == before


def test_fields_that_an_older_version_did_not_write_have_defaults(tmp_path: Path) -> None:
    state = tell(tmp_path)
    newer = ("also", "first_poisoned", "audit_checkpoint", "missed", "share", "folded", "close_reason", "closed_by")
    lines = [json.loads(line) for line in (state / "incidents.ndjson").read_text().splitlines()]
    kept = [{name: value for name, value in line.items() if name not in newer} for line in lines]
    write_lines(state / "incidents.ndjson", kept)
    assert "Attacks with port 4444 pass" in page(state)
    assert "Events touched" not in page(state)


def test_an_incident_that_was_updated_two_hundred_times_tells_what_changed(tmp_path: Path) -> None:
    updates = [{"at": START + 60 + number, "folded": 12, "severity": 9} for number in range(200)]
    state = told(tmp_path, {"activity": "create"}, *updates)
    assert sum(entry.kind == "told" for entry in timeline(material(state))) == 1
    flapping = [
        {"at": START + 60 + number, "status": "suspected" if number % 2 else "confirmed"} for number in range(2000)
    ]
    state = told(tmp_path / "flapping", *flapping)
    rendered = render(material(state), NOW)
    said = words(rendered)
    assert re.search(r"[0-9,]+ entries between these two are left out here; tocsin incidents explain has them", said)
    assert rendered.count('<li class="told">') < 310
    assert "21:43:45 UTC" in said  # the last one is there
    assert len(rendered) < MOST_BYTES


def test_a_thousand_sources_and_features_are_counted_and_the_page_stays_small(tmp_path: Path) -> None:
    many = [f"sensor-{number}" for number in range(1000)]
    implicated = msgspec.structs.replace(
        messages()[-1].implicated, sources=many, features={f"f{n}": float(n) for n in range(1000)}
    )
    state = told(tmp_path, {"implicated": implicated})
    own = window(7)
    own["detectors"]["version_disagreement"]["top"] = [{"name": f"source:{s}", "contribution": 0.001} for s in many]
    own["detectors"]["importance_drift"]["facts"]["importance"] = {f"f{n}": 0.001 for n in range(1000)}
    write_lines(state / "windows.ndjson", [own])
    rendered = render(material(state), NOW)
    assert "sensor-19 and 980 more" in words(rendered)
    assert "And 950 more." in words(rendered)
    assert len(rendered) < 300_000


def test_hundreds_of_records_are_counted_and_the_first_and_last_are_shown(tmp_path: Path) -> None:
    state = tell(tmp_path)
    log = AuditLog(state / "audit.ndjson", lambda: START + 200, None)
    for attempt in range(400):
        log.append("intent", {"key": CASE.key, "phase": "swap", "attempt": attempt, "target": "1"})
    log.close()
    found = gather(state, "49f0", lambda: None)
    rendered = render(found, NOW)
    assert "104 more records, between the first and the last of these, are left out here" in words(rendered)
    assert found.audit.records[-1].hash in rendered
    assert len(rendered) < MOST_BYTES


def test_figures_that_are_no_shares_are_never_drawn(tmp_path: Path) -> None:
    state = tell(tmp_path)
    own = window(7)
    parting = own["detectors"]["version_disagreement"]
    parting["gauges"] = {"deep_rate": None, "null_rate": -1.0}
    parting["facts"] |= {"itemset_share": 1e300, "swap_flip_gap": "NaN", "source_concentration": None, "wrong": -3}
    own["detectors"]["importance_drift"]["facts"] = {"importance": {"bytes": None, "port": 7.0}}
    own["detectors"]["retraining_buffer"]["facts"] = {"findings": [{"rows": 10**400, "features": {}}, {"rows": 3}, 4]}
    write_lines(state / "windows.ndjson", [own])
    with (state / "windows.ndjson").open("ab") as file:
        file.write(b'{"model": "nids", "at": NaN, "incident": "%s"}\n{"at": Infinity}\n' % UID.encode())
    found = material(state)
    said = page(state)
    assert "The two versions were not compared." in said
    assert "No window had enough fresh sessions to rank features." in said
    assert strengths(found.around) == ()
    assert any("2 lines are no windows" in gap for gap in found.gaps)
    assert not re.search(r"\b(nan|inf)\b", said, re.IGNORECASE)


@pytest.mark.parametrize(
    ("name", "was", "number"),
    [
        ("windows", '"itemset_share":1.0', "9" * 400),
        ("windows", '"expected":52.0', "9" * 400),
        ("windows", '"expected":52.0', "5e-324"),
        ("vetting", f'"asked_at":{START + 1}', "9" * 400),
        ("vetting", f'"asked_at":{START + 1}', "NaN"),
    ],
)
def test_numbers_beyond_all_numbers_cost_only_themselves(tmp_path: Path, name: str, was: str, number: str) -> None:
    path = tell(tmp_path) / f"{name}.ndjson"
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, f"{was.partition(':')[0]}:{number}"))
    said = page(tmp_path)
    assert "Attacks with port 4444 pass" in said
    assert not re.search(r"\b(nan|inf)\b|9{20}", said, re.IGNORECASE)


def test_a_long_course_keeps_its_peak_and_says_what_is_left_out(tmp_path: Path) -> None:
    long = [window(index, deep=0.5 if index == 203 else 0.02) for index in range(400)]
    path = tell(tmp_path) / "windows.ndjson"
    write_lines(path, long)
    said = course(read_around(path, "nids", UID))
    assert "400 windows in order of time; highest 50.0%; of each 3 the highest is drawn" in said
    write_lines(path, [window(7), window(8)])
    assert '2 windows in order of time; highest 12.0%"' in course(read_around(path, "nids", UID))


def test_questions_of_the_same_moment_are_told_with_each_reason(tmp_path: Path) -> None:
    request = {"incident": UID, "asked_at": START + 1}
    whys = {"e1": "is it benign?", "e2": "is it new?", "e3": "is it new?"}
    write_lines(tell(tmp_path) / "vetting.ndjson", [{**request, "id": name, "why": why} for name, why in whys.items()])
    assert [entry.what for entry in timeline(material(tmp_path)) if entry.kind == "asked"] == [
        "1 label asked of trusted labellers: is it benign?",
        "2 labels asked of trusted labellers: is it new?",
    ]


@pytest.mark.parametrize("result", ["done", "declined", "withdrawn"])
def test_an_open_incident_always_has_a_next_step(tmp_path: Path, result: str) -> None:
    drift = {"family": "drift", "hypothesis": "concept_drift", "action": acted(result)}
    state = told(tmp_path, drift)
    (state / "vetting.ndjson").unlink()
    assert [step.what.partition(" Look")[0] for step in steps(material(state), "")] == [
        "Tocsin does nothing more about it by itself.",
        "Close it by hand when it is over.",
    ]


def test_a_retraining_that_waits_for_approval_has_no_version_yet(tmp_path: Path) -> None:
    state = told(tmp_path, {"action": [ActionTaken("retraining", "", f"{UID}/retraining/2", "proposed")]})
    assert "Decide about the retraining: approve or decline it. tocsin response approve" in page(state)


def test_the_foremost_feature_of_last_known_good_is_shown_even_where_serving_ignores_it(tmp_path: Path) -> None:
    own = window(7)
    facts = own["detectors"]["importance_drift"]["facts"]
    facts["importance"] = {f"f{n}": 0.05 for n in range(12)}
    facts["importance_last_known_good"] = {"payload": 0.6, "f1": 0.01}
    write_lines(tmp_path / "windows.ndjson", [own])
    rows = importances(read_around(tmp_path / "windows.ndjson", "nids", UID), messages()[-1]).rows
    assert (rows[0].name, rows[0].serving, rows[0].known_good, len(rows)) == ("payload", None, 0.6, 10)


def test_other_patterns_of_the_buffer_are_not_called_the_trigger(tmp_path: Path) -> None:
    own = window(7)
    (finding,) = own["detectors"]["retraining_buffer"]["facts"]["findings"]
    other = {**finding, "features": {"error_rate": "0.1 to 0.9"}, "answers": 4, "false": 0}
    own["detectors"]["retraining_buffer"]["facts"]["findings"] = [other, finding]
    write_lines(tmp_path / "windows.ndjson", [own])
    rows = strengths(read_around(tmp_path / "windows.ndjson", "nids", UID), finding["features"])
    assert [row.trigger for row in rows] == [True, True, False]
    assert rows[-1].checked == "0 of 4 labels are false"


def test_no_message_may_contradict_the_log_that_it_was_told_with(tmp_path: Path) -> None:
    state = tell(tmp_path)
    note = (state / "audit.ndjson.checkpoint").read_text()
    write_lines(state / "incidents.ndjson", [msgspec.structs.replace(messages()[-1], audit_checkpoint=note)])
    assert material(state).audit.state == "verified"
    assert "tocsin audit" in page(state)
    (state / "audit.ndjson").unlink()  # somebody with the key writes another log
    (state / "audit.ndjson.checkpoint").unlink()
    log = AuditLog(state / "audit.ndjson", lambda: START + 50, Keys.trial(state))
    for _ in range(5):
        log.append("plan", {"case": json.loads(json.dumps(asdict(CASE)))})
    log.close()
    assert material(state).audit.state == "broken"


def test_a_key_beside_the_log_proves_less_and_the_page_says_so(tmp_path: Path) -> None:
    state = tell(tmp_path / "state")
    assert "It is signed with the trial key in" in page(state)
    keys = Keys.trial(state)
    (state / ".keys").rename(tmp_path / "elsewhere")
    found = gather(state, "49f0", lambda: keys)
    assert (found.audit.state, found.audit.why) == ("verified", "")
    assert "It is signed with the trial key" not in words(render(found, NOW))


def test_a_log_that_is_being_written_is_not_called_forged(tmp_path: Path) -> None:
    state = tell(tmp_path)
    with (state / "audit.ndjson").open("ab") as file:
        file.write(b'{"at": 176730')
    found = material(state)
    assert (found.audit.state, len(found.audit.records)) == ("verified", 4)
    assert "Its last line is incomplete and left out: it is being written, or a crash left it so." in page(state)


def test_moves_stand_in_the_registrys_order_whatever_the_clocks_say(tmp_path: Path) -> None:
    moves = [
        Move(START + 9e6, "add", "3", "1", "root", "retrained"),
        Move(START + 10, "promote", "3", "1", "tocsin", "passed"),
    ]
    entries = [entry for entry in timeline(replace(material(tell(tmp_path)), moves=moves)) if "Version 3" in entry.what]
    assert [entry.what for entry in entries] == [
        "Version 3 was added to the registry, by root: retrained (its clock was ahead of what followed)",
        "Version 3 serves, instead of 1, by tocsin: passed",
    ]


def test_shares_are_never_rounded_to_nothing_or_to_all() -> None:
    assert [percent(value) for value in (0.0, 1e-9, 0.0011, 0.9995, 1.0)] == ["0%", "<0.1%", "0.1%", ">99.9%", "100%"]


def test_a_retracted_incident_is_closed_and_asks_for_nothing() -> None:
    last = messages()[-1]
    gone = {"activity": "close", "status": "retracted", "close_reason": "the suspicion is gone", "action": []}
    assert standing(msgspec.structs.replace(last, **gone)) == (
        "Nothing was done by Tocsin. Closed as retracted (2026-01-01 21:09:56 UTC): the suspicion is gone."
    )
