"""The audit log shows what was changed in it afterwards, and survives a crash in mid-line."""

from __future__ import annotations

import multiprocessing
import re
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollback.audit.checkpoint import read_signed
from rollback.audit.log import START, AuditError, AuditLog, checkpoint_of, read_records
from rollback.audit.merkle import check_consistency, check_inclusion, consistency, leaf
from rollback.audit.verification import prove, verify
from rollback.signing.keys import Keys


def write(path: Path, count: int = 5) -> list[str]:
    log = AuditLog(path, lambda: 12.5)
    hashes = [log.append("intent", {"step": i, "why": "é"}) for i in range(count)]
    log.close()
    return hashes


def test_records_are_counted_and_chained(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "audit.ndjson"
    hashes = write(path)
    assert verify(path).records == 5
    records = list(read_records(path))
    assert [r.hash for r in records] == hashes
    assert [r.previous for r in records] == [START, *hashes[:-1]]
    assert records[2].body == {"step": 2, "why": "é"}
    assert records[2].at == 12.5


def test_a_reopened_log_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    last = write(path)[-1]
    log = AuditLog(path, lambda: 13.0)
    assert log.head == last
    log.append("outcome", {})
    log.close()
    assert verify(path).records == 6


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_found(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "audit.ndjson"
    if not path.exists():
        write(path, 3)
    content = path.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[position] ^= data.draw(st.integers(1, 255))
    other = tmp_path / "changed.ndjson"
    other.write_bytes(bytes(changed))
    with pytest.raises(AuditError, match=r"changed.ndjson: line \d+: "):
        verify(other)


def test_removed_and_reordered_lines_are_found(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(AuditError, match=r"line 3: does not follow the one before .*removed, inserted or reordered"):
        verify(path)
    path.write_bytes(b"".join([lines[0], lines[2], lines[1], *lines[3:]]))
    with pytest.raises(AuditError, match="line 2: "):
        verify(path)
    path.write_bytes(b"".join(lines[1:]))
    with pytest.raises(AuditError, match="line 1: "):
        verify(path)


def test_a_cut_off_end_is_found_only_with_a_known_head(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    hashes = write(path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    assert verify(path).records == 3
    with pytest.raises(AuditError, match="is missing; the end of the log was cut off"):
        verify(path, head=hashes[-1])
    assert verify(path, head=hashes[1]).records == 3


def test_a_line_that_a_crash_left_unfinished_is_cut_off_and_recorded(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    write(path, 2)
    with path.open("ab") as file:
        file.write(b'{"at":12.5,"bo')
    with pytest.raises(AuditError, match="line 3: is incomplete"):
        verify(path)
    AuditLog(path, lambda: 14.0).close()
    assert verify(path).records == 3
    assert list(read_records(path))[-1].kind == "audit.repaired"
    assert list(read_records(path))[-1].body["cut_bytes"] == 14


def test_a_log_that_is_only_an_unfinished_line_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    path.write_bytes(b'{"at"')
    AuditLog(path, lambda: 14.0).close()
    assert [r.kind for r in read_records(path)] == ["audit.repaired"]


def test_a_changed_last_line_stops_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    write(path, 2)
    path.write_bytes(path.read_bytes().replace(b'"step":1', b'"step":7'))
    with pytest.raises(AuditError, match="line 2: was changed"):
        AuditLog(path, lambda: 0.0)


def test_only_one_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    log = AuditLog(path, lambda: 0.0)
    with pytest.raises(AuditError, match="another process writes this audit log"):
        AuditLog(path, lambda: 0.0)
    log.close()
    AuditLog(path, lambda: 0.0).close()


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"audit.ndjson: cannot be read: No such file"):
        verify(tmp_path / "audit.ndjson")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.trial(tmp_path / "keys", make=True)


def sealed(path: Path, keys: Keys, count: int = 5) -> list[bytes]:
    """A log with checkpoints, and the checkpoint after each record."""
    log, made = AuditLog(path, lambda: 12.5, keys), []
    for i in range(count):
        log.append("intent", {"step": i})
        made.append(checkpoint_of(path).read_bytes())
    log.close()
    return made


def test_a_signed_checkpoint_stands_for_every_record(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "audit.ndjson"
    notes = sealed(path, keys)
    kept = [read_signed(note, keys.trusted) for note in notes]
    assert [each.size for each in kept] == [1, 2, 3, 4, 5]
    found = verify(path, keys=keys, kept=kept)
    assert (found.records, found.signed) == (5, 5)
    assert found.root == kept[-1].root
    leaves = [leaf(line) for line in path.read_bytes().splitlines(keepends=True)]
    check_consistency(2, kept[1].root, 5, kept[4].root, consistency(leaves, 2))


def test_a_cut_off_end_is_found_by_the_checkpoint_beside_the_log(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "audit.ndjson"
    sealed(path, keys)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    with pytest.raises(
        AuditError, match="has 3 records, of 5 that were signed: record 3 and what follows were cut off"
    ):
        verify(path, keys=keys)
    with pytest.raises(AuditError, match="were cut off"):
        AuditLog(path, lambda: 13.0, keys)


def test_a_log_that_was_written_again_is_found_by_a_checkpoint_kept_elsewhere(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "audit.ndjson"
    kept = read_signed(sealed(path, keys)[2], keys.trusted)
    path.unlink()
    checkpoint_of(path).unlink()
    log = AuditLog(path, lambda: 12.5, keys)
    for i in range(5):
        log.append("intent", {"step": i if i != 1 else 7})
    log.close()
    assert verify(path, keys=keys).records == 5
    with pytest.raises(AuditError, match="its first 3 records are not those that were signed"):
        verify(path, keys=keys, kept=[kept])


def test_a_checkpoint_of_another_key_or_an_older_one_is_told(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "audit.ndjson"
    notes = sealed(path, keys)
    other = Keys.trial(tmp_path / "other", make=True)
    with pytest.raises(AuditError, match=r"audit.ndjson.checkpoint: no valid signature by a trusted key"):
        verify(path, keys=other)
    checkpoint_of(path).write_bytes(notes[3])  # a crash between a record and its checkpoint leaves this
    assert verify(path, keys=keys).signed == 4
    AuditLog(path, lambda: 13.0, keys).close()
    assert verify(path, keys=keys).signed == 5


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_log_or_checkpoint_is_found(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "state"
    if not folder.exists():
        sealed(folder / "audit.ndjson", Keys.trial(tmp_path / "keys", make=True), 3)
    keys = Keys.trial(tmp_path / "keys")
    name = data.draw(st.sampled_from(["audit.ndjson", "audit.ndjson.checkpoint"]))
    other = tmp_path / "other"
    other.mkdir(exist_ok=True)
    for file in folder.iterdir():
        content = bytearray(file.read_bytes())
        if file.name == name:
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        (other / file.name).write_bytes(bytes(content))
    with pytest.raises(AuditError, match=r"audit.ndjson(: line \d+: |.checkpoint: )"):
        verify(other / "audit.ndjson", keys=keys)


def test_a_record_is_proved_without_the_log(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "audit.ndjson"
    root = read_signed(sealed(path, keys)[-1], keys.trusted).root
    proof = prove(path, 3)
    assert proof.record.body == {"step": 3}
    check_inclusion(leaf(proof.record.line()), 3, 5, proof.path, root)
    with pytest.raises(AuditError, match="there is no record 5: it has 5, numbered from 0"):
        prove(path, 5)


def test_of_a_thousand_one_byte_edits_each_is_found_and_the_record_named(tmp_path: Path, keys: Keys) -> None:
    """A line's end that is gone makes one line of two: it is named then, or the one that follows."""
    path = tmp_path / "state" / "audit.ndjson"
    sealed(path, keys, 20)
    content, rng = path.read_bytes(), np.random.default_rng(11)
    starts = np.cumsum([0, *(len(line) for line in content.splitlines(keepends=True))])
    for place in rng.integers(len(content), size=1000):
        changed = bytearray(content)
        changed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        line = int(np.searchsorted(starts, place, side="right"))
        with pytest.raises(AuditError) as found:
            verify(path, keys=keys)
        named = re.search(r"audit\.ndjson: line (\d+): ", str(found.value))
        assert named is not None, found.value
        assert int(named[1]) in {line, line + 1 if content[place] == ord("\n") else line}


def test_records_that_somebody_without_the_key_has_appended_are_never_signed(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "audit.ndjson"
    sealed(path, keys, 3)
    forged = AuditLog(path, lambda: 1.0)
    forged.append("registry.accepted", {})
    forged.append("registry.accepted", {})
    forged.close()
    with pytest.raises(AuditError, match=r"audit\.ndjson: line 4: more than one record follows"):
        AuditLog(path, lambda: 1.0, keys)


def test_every_one_byte_edit_of_the_checkpoint_beside_it_is_found_too(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "audit.ndjson"
    sealed(path, keys, 3)
    beside = checkpoint_of(path)
    content = beside.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        beside.write_bytes(changed)
        with pytest.raises(AuditError, match="checkpoint"):
            verify(path, keys=keys)


def _write_without_room(path: Path, answers: Any) -> None:
    """The file may grow by half a record only: what a full disk does, without one."""
    log = AuditLog(path, lambda: 12.5)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, resource.RLIM_INFINITY))
    for _ in range(2):
        try:
            log.append("intent", {"step": 9})
        except AuditError as error:
            answers.put(str(error))
    log.close()


def test_a_log_on_a_full_disk_refuses_every_record_until_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    hashes = write(path, 3)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=_write_without_room, args=(path, answers))
    process.start()
    said = [answers.get(timeout=60) for _ in range(2)]
    process.join()
    assert said == [f"{path}: cannot be written: File too large; mend that, and start again"] * 2
    log = AuditLog(path, lambda: 13.0)
    log.append("intent", {"step": 10})
    log.close()
    kinds = [record.kind for record in read_records(path)]
    assert kinds == ["intent"] * 3 + ["audit.repaired", "intent"]
    assert [record.hash for record in read_records(path)][:3] == hashes
