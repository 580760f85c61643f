"""`tocsin registry gc` removes what nothing needs, and says so first."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from in_process import Run

from monitor.incidents.still_open import INCIDENTS, IncidentsError, open_incidents, versions_named
from monitor.messages import ActionTaken, Incident, WindowItem
from rollback.audit.log import FILE_NAME, AuditLog
from rollback.manifest import Draft, FeatureSpec
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys


@pytest.fixture
def registry(tmp_path: Path) -> FileRegistry:
    """Versions 1 to 6; 1 is last known good and 4 serves."""
    root = tmp_path / "registry"
    made = FileRegistry(root, "nids", Keys.trial(root, make=True), lambda: 0.0)
    for _ in range(6):
        draft = Draft(classes=("benign", "attack"), features=(FeatureSpec("bytes"),))
        made.add(draft, {"weights.safetensors": b"x"}, by="ann", reason="test")
    made.promote("4", expected="1", known_good=False, by="ann", reason="test")
    return made


def incident(uid: str, version: str, activity: str = "create", **more: object) -> Incident:
    told = {
        "uid": uid, "activity": activity, "status": "confirmed", "model": "nids", "version": version,
        "last_known_good": "1", "opened_at": 0.0, "at": 0.0, "window": WindowItem(0, "a", "b"), "family": "poisoning",
        "hypothesis": "backdoor", "confidence": 0.9, "family_confidence": 0.9, "severity": 9, "summary": "It is so.",
    }  # fmt: skip
    return Incident(**{**told, **more})


def written(state: Path, *incidents: Incident, end: bytes = b"") -> Path:
    state.mkdir(exist_ok=True)
    (state / INCIDENTS).write_bytes(b"".join(msgspec.json.encode(i) + b"\n" for i in incidents) + end)
    return state


def gc(run: Run, tmp_path: Path, *more: object) -> dict[str, list[str]]:
    state = () if "--state" in more else ("--no-state",)
    options = ("--registry", tmp_path / "registry", "--name", "nids", "--json")
    code, out, err = run("registry", "gc", *options, *state, *more)
    assert (code, err) == (0, "")
    found: dict[str, list[str]] = json.loads(out)
    return found


def test_nothing_is_removed_before_it_was_said(run: Run, tmp_path: Path, registry: FileRegistry) -> None:
    assert gc(run, tmp_path, "--newest", 1) == {"removable": ["2", "3", "5"], "kept": ["1", "4", "6"]}
    assert len(registry.versions()) == 6
    assert gc(run, tmp_path, "--newest", 1, "--yes", "--by", "bob") == {
        "removed": ["2", "3", "5"],
        "kept": ["1", "4", "6"],
    }
    assert registry.versions() == ["1", "4", "6"]
    assert {(m.action, m.by) for m in registry.history() if m.version in {"2", "3", "5"}} == {
        ("add", "ann"),
        ("remove", "bob"),
    }
    assert gc(run, tmp_path) == {"removable": [], "kept": ["1", "4", "6"]}


def test_what_an_open_incident_names_is_kept(run: Run, tmp_path: Path, registry: FileRegistry) -> None:
    assert len(registry.versions()) == 6
    state = written(
        tmp_path / "state", incident("i", "3", first_poisoned="2"), incident("j", "5"), incident("j", "5", "close")
    )
    AuditLog(state / FILE_NAME, lambda: 0.0).close()
    assert gc(run, tmp_path, "--newest", 0, "--state", state)["removable"] == ["5", "6"]


@pytest.mark.parametrize("both", [False, True])
def test_whether_there_are_incidents_must_be_said(
    run: Run, tmp_path: Path, registry: FileRegistry, *, both: bool
) -> None:
    said = ("--state", tmp_path, "--no-state") if both else ()
    options = ("--registry", tmp_path / "registry", "--name", "nids", "--newest", 0, "--yes")
    code, _, err = run("registry", "gc", *options, *said)
    assert (code, "or else --no-state" in err) == (2, True)
    assert len(registry.versions()) == 6


def test_open_incidents_are_the_last_word_about_each(tmp_path: Path) -> None:
    taken = ActionTaken("rollback", "7", "k", "done")
    state = written(tmp_path, incident("i", "2"), incident("j", "3"), incident("i", "2", "update", action=[taken]),
                    incident("j", "3", "close"), incident("k", "9", model="phishing"), end=b'{"uid"')  # fmt: skip
    found = open_incidents(state)
    assert [(each.uid, each.activity) for each in found] == [("i", "update"), ("k", "create")]
    assert versions_named(found, "nids") == {"1", "2", "7"}


def test_a_wrong_folder_or_a_broken_file_is_no_empty_list(tmp_path: Path) -> None:
    with pytest.raises(IncidentsError, match="is no folder; give the state_dir"):
        open_incidents(tmp_path / "elsewhere")
    assert open_incidents(tmp_path) == []
    written(tmp_path, incident("i", "2"), end=b"{}\n")
    with pytest.raises(IncidentsError, match=r"incidents.ndjson: line 2: is no incident"):
        open_incidents(tmp_path)
