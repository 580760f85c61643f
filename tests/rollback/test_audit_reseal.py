"""The audit log goes on with another signing key, and says so; with nothing that the old key could not have signed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from in_process import Run

from rollback.audit.checkpoint import CheckpointError, read_signed
from rollback.audit.log import FILE_NAME, AuditError, AuditLog, checkpoint_of, parse, read_records
from rollback.audit.reseal import RESEALED, Change, reseal
from rollback.audit.verification import verify
from rollback.signing.keys import Keys, PublicKey, SigningKey, new_signing_key
from rollback.signing.trust_list import TrustedKey, TrustList, refused_now, write_trust_list

OLD, NEW = new_signing_key(), new_signing_key()
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CHANGE = Change(OLD.public, NEW, "ann", "laptop stolen")


def revoked(key: SigningKey) -> PublicKey:
    return PublicKey(key.public.raw, revoked="2026-11-22 by ann: stolen")


TRUSTED = {OLD.public.key_id: revoked(OLD), NEW.public.key_id: NEW.public}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of three records that the old key has signed."""
    return written(tmp_path / FILE_NAME, 3)


def written(path: Path, count: int, first: int = 0) -> Path:
    log = AuditLog(path, lambda: 0.0, Keys.of(OLD))
    for i in range(count):
        log.append("test", {"i": first + i})
    log.close()
    return path


def test_a_log_by_a_revoked_key_is_refused_with_the_command_that_helps_and_opens_after_it(path: Path) -> None:
    keys = Keys(TRUSTED, NEW)
    with pytest.raises(AuditError, match=r"was revoked 2026-11-22 by ann: stolen; .*tocsin audit reseal .* --old-key"):
        AuditLog(path, lambda: 0.0, keys)
    note = checkpoint_of(path).read_text()
    assert reseal(path, CHANGE, lambda: 9.0).records == 3
    AuditLog(path, lambda: 0.0, keys).close()
    assert verify(path, keys=Keys(TRUSTED)).signed == 4
    last = [*read_records(path)][-1]
    ids = {"old_key": OLD.public.key_id, "new_key": NEW.public.key_id}
    assert (last.kind, last.at) == (RESEALED, 9.0)
    assert last.body == {**ids, "by": "ann", "reason": "laptop stolen", "checkpoint": note}
    kept = read_signed(last.body["checkpoint"].encode(), {OLD.public.key_id: OLD.public})
    assert verify(path, keys=Keys(TRUSTED), kept=[kept]).records == 4


def test_a_revoked_key_does_not_open_its_own_log(path: Path) -> None:
    with pytest.raises(AuditError, match="was revoked"):
        AuditLog(path, lambda: 0.0, Keys(TRUSTED, OLD))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Change(new_signing_key().public, NEW, "ann", "x"), "no valid signature by a trusted key"),
        (Change(OLD.public, OLD, "ann", "x"), "signs it already"),
    ],
)
def test_another_key_than_the_one_that_signed_it_changes_nothing(path: Path, change: Change, said: str) -> None:
    before = path.read_bytes(), checkpoint_of(path).read_bytes()
    with pytest.raises(AuditError, match=said):
        reseal(path, change, lambda: 0.0)
    assert (path.read_bytes(), checkpoint_of(path).read_bytes()) == before


def test_a_change_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        Change(OLD.public, NEW, "ann", " ")


def test_a_log_that_a_thief_wrote_anew_does_not_fit_a_checkpoint_from_elsewhere(path: Path) -> None:
    kept = read_signed(checkpoint_of(path).read_bytes(), {OLD.public.key_id: OLD.public})
    for file in (path, checkpoint_of(path)):
        file.unlink()
    first = written(path, 5, first=7).read_bytes()
    with pytest.raises(AuditError, match="first 3 records are not those that were signed"):
        reseal(path, CHANGE, lambda: 0.0, [kept])
    assert path.read_bytes() == first


@pytest.mark.parametrize("damage", ["cut", "edit", "no checkpoint"])
def test_a_damaged_log_is_not_signed_anew(path: Path, damage: str) -> None:
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: content.rfind(b"\n", 0, -1) + 1])
    elif damage == "edit":
        path.write_bytes(content.replace(b'"i":1', b'"i":8'))
    else:
        checkpoint_of(path).unlink()
    before = path.read_bytes()
    with pytest.raises(AuditError):
        reseal(path, CHANGE, lambda: 0.0)
    assert path.read_bytes() == before


def test_while_a_daemon_writes_it_a_log_is_left_alone(path: Path) -> None:
    log = AuditLog(path, lambda: 0.0, Keys.of(OLD))
    with pytest.raises(AuditError, match="another process writes this audit log; stop it first"):
        reseal(path, CHANGE, lambda: 0.0)
    log.append("test", {})
    log.close()


def test_after_a_crash_between_record_and_signature_it_is_done_again(path: Path) -> None:
    note = checkpoint_of(path).read_bytes()
    reseal(path, CHANGE, lambda: 0.0)
    checkpoint_of(path).write_bytes(note)
    reseal(path, CHANGE, lambda: 0.0)
    assert [record.kind for record in read_records(path)] == ["test"] * 3 + [RESEALED] * 2
    assert verify(path, keys=Keys.of(NEW)).signed == 5


def test_an_unfinished_line_is_cut_off_first(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"number":')
    reseal(path, CHANGE, lambda: 0.0)
    assert [record.kind for record in read_records(path)][3:] == ["audit.repaired", RESEALED]


@pytest.mark.parametrize("since", [0, -1, 4])
def test_a_proof_of_growth_says_which_numbers_there_are(path: Path, run: Run, since: int) -> None:
    code, _, err = run("audit", "prove", path.parent, "--since", since)
    assert (code, "give a number from 1 to 3" in err or "give a number from 1 to that" in err) == (1, True)


class Place:
    """A configuration with a list of trusted keys and a key of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "tocsin.yaml"
        (folder / "registry").mkdir()
        for name, key in (("old", OLD), ("new", NEW)):
            (folder / f"{name}.pub.pem").write_bytes(key.public.pem())
            (folder / f"{name}.pem").write_bytes(key.pem())
            (folder / f"{name}.pem").chmod(0o600)

    def trust(self, *keys: TrustedKey, own: str = "old") -> None:
        write_trust_list(self.folder / "trust.json", TrustList(keys))
        self.config.write_text(
            f"kafka: {{bootstrap_servers: ['127.0.0.1:1'], inference_topic: t}}\nmodels: {{nids: {{}}}}\n"
            f"signing: {{trusted_keys: [trust.json], key_file: {own}.pem}}\n"
        )


def entry(key: SigningKey, **more: Any) -> TrustedKey:
    return TrustedKey(key_id=key.public.key_id, public=key.public.raw.hex(), **more)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry(OLD, revoked_at=NOW, revoked_by="ann", reason="stolen"), entry(NEW)], "was revoked 2026-11-22"),
        ([entry(OLD, valid_until=datetime(2020, 1, 1, tzinfo=UTC)), entry(NEW)], "expired on 2020-01-01"),
        ([entry(NEW)], "is not among the trusted keys"),
    ],
)
def test_a_key_that_nobody_believes_does_not_sign(place: Place, run: Run, entries: list[TrustedKey], said: str) -> None:
    place.trust(*entries)
    code, _, err = run("validate", "--config", place.config)
    assert (code, said in err, "tocsin keys generate" in err) == (78, True, True)
    code, out, _ = run("doctor", "--config", place.config, "--json")
    checks = {each["check"]: each for each in json.loads(out)["checks"] if each["status"] == "problem"}
    assert code == 78
    assert said in checks["keys"]["message"]
    code, _, err = run("run", "--config", place.config)
    assert (code, said in err) == (78, True)


def test_validate_says_which_keys_are_over_or_soon_will_be(place: Place, run: Run) -> None:
    soon = datetime.now(UTC) + timedelta(days=3)
    stranger = new_signing_key()
    gone = entry(stranger, revoked_at=NOW, revoked_by="ann", reason="left")
    place.trust(entry(OLD, valid_until=soon), entry(NEW), gone)
    code, out, _ = run("validate", "--config", place.config, "--json")
    assert (code, json.loads(out)["notes"]) == (
        0,
        [
            f"key {OLD.public.key_id} expires on {soon.isoformat(timespec='seconds')}",
            f"key {stranger.public.key_id} is not believed: revoked 2026-11-22T12:00:00+00:00 by ann: left",
        ],
    )


def test_the_command_changes_the_key_and_validate_and_doctor_ask_for_it(place: Place, run: Run) -> None:
    path = written(place.folder / "state" / FILE_NAME, 3)
    place.trust(entry(OLD, revoked_at=NOW, reason="stolen"), entry(NEW), own="new")
    for command in ("validate", "doctor"):
        code, out, err = run(command, "--config", place.config)
        assert (code, f"tocsin audit reseal {path.parent} --old-key" in out + err) == (78, True)
    ask = ("audit", "reseal", path.parent, "--config", place.config, "--by", "ann", "--old-key")
    assert run(*ask, place.folder / "old.pub.pem", "--reason", " ")[0] == 2
    assert run(*ask, place.folder / "new.pub.pem", "--reason", "stolen")[0] == 1
    code, out, _ = run(*ask, place.folder / "old.pub.pem", "--reason", "stolen", "--json")
    ids = {"old_key": OLD.public.key_id, "new_key": NEW.public.key_id}
    assert (code, json.loads(out)) == (0, {"resealed": True, "records": 3, **ids})
    assert run("validate", "--config", place.config)[0] == 0
    assert run("audit", "verify", path.parent, "--config", place.config)[0] == 0
    assert run("audit", "verify", path.parent, "--config", place.config, "--trusted-key", "x")[0] == 2
    place.trust(entry(OLD, revoked_at=NOW, reason="stolen"), entry(NEW))
    code, _, err = run(*ask, place.folder / "new.pub.pem", "--reason", "back")
    assert (code, "was revoked" in err) == (1, True)


def test_every_record_before_a_change_can_be_checked_with_the_old_key_for_ever(path: Path) -> None:
    reseal(path, CHANGE, lambda: 0.0)
    lines = path.read_bytes().splitlines(keepends=True)
    note = parse(lines[-1], "").body["checkpoint"]
    kept = read_signed(note.encode(), {OLD.public.key_id: OLD.public})
    assert verify(path, kept=[kept]).signed == 3
    with pytest.raises(CheckpointError):
        read_signed(note.encode(), TRUSTED)


def test_who_signs_nothing_has_no_key_to_refuse() -> None:
    assert refused_now(Keys({}), NOW) == ""
