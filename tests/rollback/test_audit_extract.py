"""What is exported of an audit log can be checked without the log, and shown by incident."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from theatre import PASSED, POISONED, PROMOTION, ROLLBACK, Theatre

from monitor.cli.main import main
from rollback.audit.extract import check_extract, concerns, extract
from rollback.audit.log import FILE_NAME, AuditError, AuditLog, Record
from rollback.signing.keys import Keys, new_signing_key

KEYS = Keys.of(new_signing_key())
OTHER = Keys.of(new_signing_key())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Twelve records: every third is about incident i1, one about i10."""
    path = tmp_path / "state" / FILE_NAME
    written = AuditLog(path, lambda: 7.0, KEYS)
    for number in range(12):
        incident = "i1" if number % 3 == 0 else "i10" if number == 5 else "i2"
        written.append("intent", {"key": f"{incident}/rollback/2/1", "phase": "swap"})
    written.close()
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as over:
        main(["audit", *arguments], {})
    captured = capsys.readouterr()
    return int(over.value.code or 0), captured.out + captured.err


def about(incident: str) -> Callable[[Record], bool]:
    return lambda record: concerns(record, incident)


def test_an_extract_holds_what_was_wanted_and_proves_that_it_is_in_the_log(log: Path) -> None:
    checkpoint, records = check_extract(extract(log, about("i1")), KEYS.trusted, "x")
    assert (checkpoint.size, [record.number for record in records]) == (12, [0, 3, 6, 9])
    assert check_extract(extract(log, about("nobody")), KEYS.trusted, "x")[1] == []


def test_whoever_is_not_trusted_proves_nothing(log: Path) -> None:
    with pytest.raises(AuditError, match="no valid signature by a trusted key"):
        check_extract(extract(log, about("i1")), OTHER.trusted, "x")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_changed_byte_of_an_extract_is_found(log: Path, data: st.DataObject) -> None:
    content = extract(log, about("i1"))
    place = data.draw(st.integers(0, len(content) - 1))
    changed = content[:place] + bytes([content[place] ^ (1 << data.draw(st.integers(0, 7)))]) + content[place + 1 :]
    with pytest.raises(AuditError):
        check_extract(changed, KEYS.trusted, "x")


def test_without_a_signed_checkpoint_there_is_no_extract(log: Path) -> None:
    log.with_name(FILE_NAME + ".checkpoint").unlink()
    with pytest.raises(AuditError, match="without a signed checkpoint nothing is proved"):
        extract(log, about("i1"))


def test_the_commands_export_and_verify(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, key = tmp_path / "incident.json", tmp_path / "key.pub.pem"
    assert KEYS.signing is not None
    key.write_bytes(KEYS.signing.public.pem())
    assert run(capsys, "export", str(log.parent), "--incident=i1", f"--out={out}") == (0, f"{out}: 4 records\n")
    code, said = run(capsys, "verify", str(out), f"--trusted-key={key}")
    assert (code, said.split(" (")[0]) == (0, f"{out}: 4 records, each proved to be in the log of 12")
    out.write_bytes(out.read_bytes().replace(b"swap", b"swop"))
    code, said = run(capsys, "verify", str(out), f"--trusted-key={key}")
    assert code == 1
    assert "entry 0: was changed" in said


def test_records_are_shown_by_incident_and_kind(
    theatre: Callable[..., Theatre], capsys: pytest.CaptureFixture[str]
) -> None:
    t = theatre()
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.run()
    code, said = run(capsys, "show", str(t.path), "--incident=i1", "--kind=plan")
    assert code == 0
    assert [line.split("plan: ")[1].split(":")[0] for line in said.splitlines()] == [
        ROLLBACK,
        "i1/retraining/2",
        PROMOTION,
    ]
    assert run(capsys, "show", str(t.path), "--incident=i2") == (0, "no such record\n")
    code, said = run(capsys, "show", str(t.path), "--kind=intent", "--json")
    assert [json.loads(said)[0]["body"][name] for name in ("key", "phase")] == [ROLLBACK, "swap"]
