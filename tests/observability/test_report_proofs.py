"""The report says of the audit log neither more nor less than can be proved."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
from report_words import words
from told_state import CASE, START, UID, messages, tell, write_lines

from monitor.cli.main import main
from monitor.report.make import trial_keys
from monitor.report.material import Material, gather
from monitor.report.next_steps import verify_command
from monitor.report.page import render
from rollback.audit.log import AuditLog
from rollback.signing.keys import new_signing_key

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def material(state: Path) -> Material:
    return gather(state, UID, lambda: trial_keys(state))


def append(state: Path, count: int) -> None:
    """Records that fit the chain, by somebody who has no key."""
    log = AuditLog(state / "audit.ndjson", lambda: START + 200, None)
    for _ in range(count):
        log.append("intent", {"key": CASE.key, "phase": "swap", "attempt": 0, "target": "1"})
    log.close()


def test_a_log_that_was_cut_off_within_a_line_is_not_taken_for_one_that_is_being_written(tmp_path: Path) -> None:
    log = tell(tmp_path) / "audit.ndjson"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:2]) + lines[2][:30])
    found = material(tmp_path).audit
    assert found.state == "broken"
    assert "has 2 records, of 4 that were signed" in found.why


def test_records_that_nobody_signed_are_not_called_what_was_written(tmp_path: Path) -> None:
    append(tell(tmp_path), 2)
    found = material(tmp_path).audit
    assert found.state == "broken"
    assert "2 records follow the 4 that its signed checkpoint stands for" in found.why


def test_one_record_without_a_signature_is_what_a_crash_leaves_and_is_said(tmp_path: Path) -> None:
    append(tell(tmp_path), 1)
    found = material(tmp_path).audit
    assert found.state == "verified"
    assert "Its last record is not signed for" in found.why


def test_a_log_that_is_gone_was_there_if_messages_were_sent_with_it(tmp_path: Path) -> None:
    state = tell(tmp_path)
    (state / "audit.ndjson").unlink()
    assert "there was one: its signed checkpoint still lies here" in material(state).audit.why
    (state / "audit.ndjson.checkpoint").unlink()
    assert "there was one" not in material(state).audit.why
    write_lines(state / "incidents.ndjson", messages(audit_checkpoint="a note"))
    assert "messages about this incident were sent with checkpoints of it" in material(state).audit.why


def test_what_cannot_be_read_is_not_called_forged(tmp_path: Path) -> None:
    state = tell(tmp_path)
    (state / "audit.ndjson.checkpoint").unlink()
    (state / "audit.ndjson.checkpoint").mkdir()
    assert material(state).audit.state == "unreadable"
    (state / "audit.ndjson").unlink()
    (state / "audit.ndjson").mkdir()
    found = material(state)
    assert found.audit.state == "unreadable"
    said = words(render(found, NOW))
    assert "The audit log cannot be read" in said
    assert "NOT what was written" not in said


def test_a_trial_key_of_earlier_days_does_not_make_a_log_look_forged(tmp_path: Path) -> None:
    state = tell(tmp_path)
    log = AuditLog(state / "audit.ndjson", lambda: START + 200, None)
    log.seal(new_signing_key())
    log.close()
    found = material(state).audit
    assert (found.state, found.why) == ("chained", "There is no key here to check its signed checkpoint with.")


def test_the_command_that_checks_the_log_works_when_it_is_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a  b'c"
    state, config = tell(folder / "state"), folder / "tocsin.yaml"
    config.write_text("state_dir: state\nmodels: {nids: {}}\n")
    for given in ("", str(config)):
        command = shlex.split(verify_command(material(state), given))
        with pytest.raises(SystemExit) as left:
            main(command[1:], environ={})
        assert left.value.code == 0
        assert "4 records" in capsys.readouterr().out
    assert "--config" in words(render(material(state), NOW, str(config))).partition("Check it yourself")[2]
