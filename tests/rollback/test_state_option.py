"""`--state`: commands that read a registry believe only what the daemon's audit log saw first."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from in_process import Run

from monitor.audited import FindingsBook
from monitor.jobs.registry_verification import check_registry
from rollback.audit.anchors import Anchors
from rollback.audit.log import FILE_NAME, AuditLog
from rollback.manifest import Draft, FeatureSpec
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys

COMMANDS = (
    "registry show", "registry verify", "registry export --out {out}", "registry quarantine --version 2",
    "registry release --version 2 --reason x", "registry gc --newest 0 --yes", "registry shadow", "registry rollback",
    "registry promote --version 2", "score --data {out} --out {out}", "gate --candidate 2 --out {out}",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Versions 1 and 2, seen by a daemon with its state beside the registry."""
    keeper = FileRegistry(tmp_path / "registry", "nids", Keys.trial(tmp_path / "registry", make=True), time.time)
    for content in (b"1", b"2"):
        draft = Draft(classes=("benign", "attack"), features=(FeatureSpec("bytes"),))
        keeper.add(draft, {"weights.safetensors": content}, by="ann", reason="test")
    log = AuditLog(tmp_path / "state" / FILE_NAME, time.time)
    FindingsBook(Anchors([]), log).checked(check_registry("nids", keeper, 0.0))
    log.close()
    return tmp_path


def asked(folder: Path, command: str, state: Path) -> list[object]:
    where = ["--registry", folder / "registry", "--name", "nids", "--state", state]
    return [*command.format(out=folder / "out.csv").split(), *where]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_history_that_was_written_anew_is_believed_by_no_command(folder: Path, run: Run, command: str) -> None:
    history = folder / "registry" / "nids" / "history.ndjson"
    history.write_bytes(history.read_bytes().replace(b"ann", b"eve"))
    before = history.read_bytes()
    code, _, err = run(*asked(folder, command, folder / "state"))
    assert (code, "of the history of model 'nids' are others than the audit log holds" in err) == (1, True)
    assert history.read_bytes() == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_without_an_audit_log_is_no_state(folder: Path, run: Run, command: str) -> None:
    code, _, err = run(*asked(folder, command, folder))
    assert (code, "there is no audit log; --state wants the state_dir" in err) == (1, True)


def test_what_is_as_it_was_seen_is_shown_exported_held_and_released(folder: Path, run: Run) -> None:
    for command in (COMMANDS[0], *COMMANDS[2:5]):
        code, _, err = run(*asked(folder, command, folder / "state"))
        assert (code, err) == (0, ""), command


def test_doctor_does_not_look_for_a_culprit_where_a_key_was_revoked(folder: Path, run: Run) -> None:
    trust = folder / "trust.json"
    assert run("keys", "trust", folder / "registry/.keys/signing.pub.pem", "--trust", trust, "--name", "trial")[0] == 0
    assert run("keys", "revoke", "trial", "--trust", trust, "--reason", "left behind")[0] == 0
    config = folder / "tocsin.yaml"
    config.write_text(json.dumps({"models": {"nids": {}}, "signing": {"trusted_keys": ["trust.json"]}}))
    told = json.loads(run("doctor", "--config", config, "--json")[1])["checks"]
    found = [(each["message"], each["advice"]) for each in told if each["check"] == "registry nids"]
    assert len(found) == 2
    for message, advice in found:
        assert "left behind" in message
        assert "tocsin registry export" in advice
        assert "who changed it" not in advice
