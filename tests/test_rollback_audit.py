"""The audit log shows what was changed in it afterwards, and survives a crash in mid-line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollback.audit.log import START, AuditError, AuditLog, read_records
from rollback.audit.verification import verify


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
    assert verify(path, head=hashes[1]) == 3


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
