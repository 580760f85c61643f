"""A version that nobody trusted has signed serves only where an operator says so, for that version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Run

from monitor.audited import CONFIGURATION, note_configuration
from monitor.daemon import open_configured
from monitor.jobs.registry_verification import check_registry
from monitor.settings.config import load_config
from rollback.audit.log import FILE_NAME, AuditLog, read_records
from rollback.bundle import IntegrityError
from rollback.manifest import Draft, FeatureSpec
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys, new_signing_key

OURS, THEIRS = new_signing_key(), new_signing_key()
DRAFT = Draft(classes=("benign", "attack"), features=(FeatureSpec("bytes"),))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Version 1 is signed by us, 2 and 3 by somebody else."""
    for key in (OURS, THEIRS, THEIRS):
        keeper = FileRegistry(tmp_path / "registry", "nids", Keys.of(key), lambda: 0.0)
        keeper.add(DRAFT, {"weights.safetensors": b"x"}, by="ann", reason="test")
    (tmp_path / "ours.pub.pem").write_bytes(OURS.public.pem())
    return tmp_path


def config(root: Path, *allowed: str) -> Path:
    settings = {
        "registry": "registry",
        "kafka": {"bootstrap_servers": ["127.0.0.1:1"], "inference_topic": "t"},
        "models": {"nids": {"allow_unsigned": allowed}},
        "signing": {"trusted_keys": ["ours.pub.pem"]},
    }
    (root / "tocsin.yaml").write_text(json.dumps(settings))
    return root / "tocsin.yaml"


def test_the_command_promotes_it_only_when_told_and_the_history_says_so(root: Path, run: Run) -> None:
    options = ("--registry", root / "registry", "--name", "nids", "--trusted-key", root / "ours.pub.pem")
    promote = ("registry", "promote", *options, "--version", "2", "--reason", "a drill", "--by", "bob")
    code, _, err = run(*promote)
    assert (code, "no valid signature by a trusted key" in err) == (1, True)
    code, out, _ = run(*promote, "--allow-unsigned", "--json")
    assert (code, json.loads(out)) == (0, {"serving": "2", "last_known_good": "1", "assumed": True})
    history = FileRegistry(root / "registry", "nids", Keys.of(OURS), lambda: 0.0).history()
    assert (history[-1].action, history[-1].version, history[-1].by, history[-1].reason) == (
        "promote",
        "2",
        "bob",
        "a drill [allowed without a trusted signature]",
    )
    assert run("registry", "rollback", *options)[0] == 0
    assert run("registry", "verify", *options, "--version", "2")[0] == 1


def test_the_option_lets_no_changed_file_pass(root: Path, run: Run) -> None:
    (file,) = (root / "registry" / "nids" / "2").glob("weights.safetensors")
    file.chmod(0o644)
    file.unlink()
    file.write_bytes(b"y")
    options = ("--registry", root / "registry", "--name", "nids", "--trusted-key", root / "ours.pub.pem")
    code, _, err = run("registry", "promote", *options, "--version", "2", "--allow-unsigned")
    assert (code, "weights.safetensors" in err) == (1, True)


def test_the_configuration_names_those_that_a_daemon_believes(root: Path) -> None:
    settings = load_config(config(root, "2"), {})
    registry = open_configured(settings, "nids")
    assert registry.load("2").signed_by == ""
    assert list(check_registry("nids", registry, 0.0).failed) == ["3"]
    with pytest.raises(IntegrityError, match="no valid signature by a trusted key"):
        open_configured(load_config(config(root), {}), "nids").load("2")


def test_the_audit_log_keeps_which_are_allowed_when_that_changes(root: Path) -> None:
    log = AuditLog(root / FILE_NAME, lambda: 0.0)
    for allowed in ((), ("2",), ("2",)):
        note_configuration(load_config(config(root, *allowed), {}), "observe", log)
    log.close()
    noted = [record.body["settings"]["models"]["nids"]["allow_unsigned"] for record in read_records(root / FILE_NAME)]
    assert (noted, {record.kind for record in read_records(root / FILE_NAME)}) == ([[], ["2"]], {CONFIGURATION})


def test_doctor_complains_of_the_others_only(root: Path, run: Run) -> None:
    code, out, _ = run("doctor", "--config", config(root, "2"), "--json")
    told = [each["message"] for each in json.loads(out)["checks"] if each["check"] == "registry nids"]
    assert (code, [text.partition(":")[0] for text in told]) == (1, ["version 3"])
