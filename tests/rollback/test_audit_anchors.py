"""What the audit log has seen of a registry holds: swapped bundles and rewritten histories are found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import structlog
from in_process import Run

from monitor.audited import CONFIGURATION, FindingsBook, QuarantineBook, note_configuration
from monitor.decoding.quarantine import Quarantine
from monitor.decoding.reject import Reject
from monitor.jobs.registry_verification import check_registry
from monitor.key_use import key_ids
from monitor.settings.config import Config, SigningConfig
from monitor.sources.source import Partition
from rollback.audit.anchors import ACCEPTED, MOVES, REWRITTEN, VERSION, Anchors
from rollback.audit.log import FILE_NAME, AuditLog, checkpoint_of, read_records
from rollback.bundle import ATTESTATION, IntegrityError
from rollback.manifest import Draft, FeatureSpec
from rollback.registry.file import FileRegistry, Trust
from rollback.registry.registry import RegistryError
from rollback.signing.keys import Keys, new_signing_key

KEYS = Keys.of(new_signing_key())
DRAFT = Draft(classes=("benign", "attack"), features=(FeatureSpec("bytes"),))


class Place:
    """A registry with an audit log elsewhere; `check` is what the daemon does from time to time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "state" / FILE_NAME
        self.log = AuditLog(self.path, lambda: 0.0)
        self.start()

    def start(self, *unsigned: str) -> None:
        self.anchors = Anchors(read_records(self.path))
        self.registry = self.opened(Trust(self.anchors.of("nids"), unsigned, partial(self.anchors.rewritten, "nids")))
        self.book = FindingsBook(self.anchors, self.log)

    def opened(self, trust: Trust | None = None) -> FileRegistry:
        return FileRegistry(self.folder / "registry", "nids", KEYS, lambda: 1.7e9, trust)

    def add(self, content: bytes, version: str | None = None) -> None:
        self.registry.add(DRAFT, {"weights.safetensors": content}, by="ann", reason="test", version=version)

    def check(self) -> dict[str, str]:
        found = check_registry("nids", self.registry, 0.0)
        self.book.checked(found)
        return dict(found.failed)

    def kinds(self) -> list[str]:
        return [record.kind for record in read_records(self.path)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.log.close()


def test_each_version_and_each_move_is_noted_once(place: Place) -> None:
    place.add(b"1")
    place.check()
    place.add(b"2")
    for _ in range(2):
        place.check()
        place.start()
    assert place.kinds() == [VERSION, MOVES, VERSION, MOVES]
    first, moves, *_ = read_records(place.path)
    assert first.body == {
        "model": "nids",
        "version": "1",
        "digest": place.registry.load("1").digest,
        "signed_by": KEYS.signing.public.key_id if KEYS.signing else "",
    }
    assert [move["action"] for move in moves.body["moves"]] == ["add", "assume"]


def test_a_bundle_that_was_swapped_together_with_its_signature_is_refused(place: Place, tmp_path: Path) -> None:
    place.add(b"good")
    place.check()
    other = FileRegistry(tmp_path / "other", "nids", KEYS, lambda: 1.7e9)  # by somebody who has the key
    other.add(DRAFT, {"weights.safetensors": b"evil"}, by="eve", reason="")
    folder = tmp_path / "registry" / "nids" / "1"
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "other" / "nids" / "1", folder)
    assert place.opened().load("1").files["weights.safetensors"] == b"evil"
    assert "bundle and signature were swapped together" in place.check()["1"]
    place.start()
    with pytest.raises(IntegrityError, match=r"by the audit log it was [0-9a-f]{64}"):
        place.registry.load("1")
    place.check()
    assert place.kinds()[2:] == ["version.failed", "version.failed"]  # once a start


def test_commands_that_are_told_of_the_audit_log_believe_it(place: Place, tmp_path: Path, run: Run) -> None:
    assert KEYS.signing is not None
    key = tmp_path / "key.pub.pem"
    key.write_bytes(KEYS.signing.public.pem())
    options = ("--registry", tmp_path / "registry", "--name", "nids", "--trusted-key", key)
    place.add(b"1")
    place.check()
    assert run("registry", "verify", *options, "--state", tmp_path / "state")[0] == 0
    file = tmp_path / "registry" / "nids" / "history.ndjson"
    file.write_bytes(file.read_bytes().replace(b"ann", b"bob"))
    for command in ("verify", "rollback"):
        code, _, err = run("registry", command, *options, "--state", tmp_path / "state")
        assert code == 1
        assert "the first 2 entries of the history of model 'nids' are others than the audit log holds" in err
    code, _, err = run("registry", "verify", *options, "--state", tmp_path)
    assert (code, f"{tmp_path / FILE_NAME}: there is no audit log" in err) == (1, True)


def test_a_history_that_was_written_anew_is_found_and_kept_as_it_is_then(place: Place, tmp_path: Path) -> None:
    place.add(b"1")
    place.add(b"2")
    place.check()
    file = tmp_path / "registry" / "nids" / "history.ndjson"
    file.write_bytes(file.read_bytes().replace(b"ann", b"bob"))
    with structlog.testing.capture_logs() as logs:
        place.check()
        place.check()
    assert [line["event"] for line in logs] == ["the registry's history was written anew"] * 2
    (record,) = [record for record in read_records(place.path) if record.kind == REWRITTEN]
    assert {move["by"] for move in record.body["moves"]} == {"bob"}


def test_a_quarantine_that_was_written_out_of_the_history_holds_until_somebody_accepts_that(
    place: Place, tmp_path: Path, run: Run
) -> None:
    place.add(b"1")
    place.add(b"2")
    place.registry.quarantine("2", by="tocsin", reason="incident")
    place.check()
    file = tmp_path / "registry" / "nids" / "history.ndjson"
    whole = file.read_bytes()
    file.write_bytes(b"".join(line for line in whole.splitlines(keepends=True) if b'"quarantine"' not in line))
    for _ in range(3):  # being told of it makes it no truer, nor does a restart
        place.check()
        place.start()
        with pytest.raises(RegistryError, match="are others than the audit log holds"):
            place.registry.promote("2", expected="1", known_good=False, by="eve", reason="")
        with pytest.raises(RegistryError, match="are others than the audit log holds"):
            place.registry.rollback(expected="2", by="tocsin", reason="", target="1")
    assert place.kinds().count(REWRITTEN) == 1
    file.write_bytes(whole)
    place.check()
    with pytest.raises(RegistryError, match="version 2 is in quarantine"):
        place.registry.promote("2", expected="1", known_good=False, by="eve", reason="")
    file.write_bytes(whole.replace(b'"by":"ann"', b'"by":"bob"'))
    place.check()
    place.log.close()
    options = ("--registry", tmp_path / "registry", "--name", "nids", "--reason", "moved from another disk")
    beside = checkpoint_of(place.path)
    beside.write_text("signed by a key that is elsewhere")
    code, _, err = run("audit", "accept-history", tmp_path / "state", *options)
    assert (code, "its checkpoint is signed: give --config" in err) == (1, True)
    beside.unlink()
    code, out, err = run("audit", "accept-history", tmp_path / "state", *options, "--by", "ann")
    assert (code, "4 entries" in out) == (0, True), err
    place.log = AuditLog(place.path, lambda: 0.0)
    place.start()
    place.registry.release("2", by="ann", reason="it was good")
    place.check()
    assert place.kinds()[-2:] == [ACCEPTED, MOVES]


def test_a_version_without_a_signature_is_believed_only_where_it_is_named(place: Place, tmp_path: Path) -> None:
    place.add(b"1")
    place.add(b"2")
    (tmp_path / "registry" / "nids" / "2" / ATTESTATION).unlink()
    with pytest.raises(IntegrityError, match="the bundle is not signed"):
        place.registry.load("2")
    place.start("2")
    bundle = place.registry.load("2")
    assert (bundle.signed_by, bundle.files["weights.safetensors"]) == ("", b"2")
    assert place.check() == {}
    assert [r.body["signed_by"] == "" for r in read_records(place.path) if r.kind == VERSION] == [False, True]
    weights = tmp_path / "registry" / "nids" / "2" / "weights.safetensors"
    weights.unlink()
    weights.write_bytes(b"changed")
    with pytest.raises(IntegrityError, match=r"weights\.safetensors: changed since it was signed"):
        place.registry.load("2")


def test_files_of_the_same_content_are_kept_once(place: Place, tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        place.add(b"shared" if version != "3" else b"own", version)
    folder = tmp_path / "registry" / "nids"
    same = [(folder / v / "weights.safetensors").stat().st_ino for v in ("1", "2", "3")]
    assert (same[0] == same[1], same[0] == same[2], len(list((folder / "blobs").iterdir()))) == (True, False, 2)
    place.registry.remove("3", by="ann", reason="old")
    assert len(list((folder / "blobs").iterdir())) == 1
    assert place.registry.load("2").files["weights.safetensors"] == b"shared"


def test_a_blob_that_was_changed_is_not_used(place: Place, tmp_path: Path) -> None:
    place.add(b"shared")
    (blob,) = (tmp_path / "registry" / "nids" / "blobs").iterdir()
    blob.write_bytes(b"broken")
    place.add(b"shared")
    assert place.registry.load("2").files["weights.safetensors"] == b"shared"
    with pytest.raises(IntegrityError, match="changed since it was signed"):
        place.registry.load("1")


def test_the_configuration_is_noted_when_it_changes(place: Place) -> None:
    for config in (Config(), Config(), Config(checkpoint_every_seconds=3.0)):
        note_configuration(config, "act", place.log)
    note_configuration(Config(checkpoint_every_seconds=3.0), "observe", place.log)
    noted = [record.body["settings"] for record in read_records(place.path) if record.kind == CONFIGURATION]
    assert [(each["mode"], each["checkpoint_every_seconds"]) for each in noted] == [
        ("act", 10.0), ("act", 3.0), ("observe", 3.0)
    ]  # fmt: skip
    assert json.dumps(noted[0]).count("password_file") == 0


def test_what_could_not_be_read_is_noted_by_reason_and_not_too_often(place: Place, tmp_path: Path) -> None:
    unread, now = Quarantine(None), [0.0]
    book = QuarantineBook(unread, place.log, lambda: now[0])
    reject = Reject(0, "bad_json", "-", "", b"{")
    for at, count in ((0.0, 1), (1.0, 5), (30.0, 1), (61.0, 0), (200.0, 0)):
        now[0] = at
        unread.add(Partition("events", 0), [reject] * count)
        book.look()
    noted = [record.body["messages"] for record in read_records(place.path) if record.kind == "quarantine"]
    assert noted == [{"bad_json": 1}, {"bad_json": 7}]
    unread.add(Partition("events", 0), [reject])
    book.close()
    assert list(read_records(place.path))[-1].body == {"messages": {"bad_json": 8}}


def test_the_keys_that_are_used_are_named(tmp_path: Path) -> None:
    key = new_signing_key()
    (tmp_path / "k.pem").write_bytes(key.pem())
    (tmp_path / "k.pem").chmod(0o600)
    used = key_ids(Config(signing=SigningConfig(key_file=tmp_path / "k.pem")))
    assert used == {"signing_key": key.public.key_id, "trusted_keys": [key.public.key_id], "refused_keys": {}}
    assert key_ids(Config()) == {"signing_key": None, "trusted_keys": [], "refused_keys": {}}
