"""What a hunt has found reaches the loop once, and the audit log once, whoever wrote the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hunted import hunt_result

from monitor.audited import FindingsBook
from monitor.inbox import Hunted, Inbox
from monitor.jobs.hunt_results import HuntResultError, HuntResults
from rollback.audit.anchors import Anchors
from rollback.audit.log import FILE_NAME, AuditLog, read_records


def test_a_result_is_taken_once_and_again_when_another_hunt_replaced_it(tmp_path: Path) -> None:
    inbox = Inbox()
    look = HuntResults(tmp_path, inbox)
    look()
    first = hunt_result(tmp_path, "i1", "17 attacks passed.")
    look()
    look()
    second = hunt_result(tmp_path, "i1", "18 attacks passed.")
    look()
    assert inbox.drain() == [Hunted("i1", "17 attacks passed.", first), Hunted("i1", "18 attacks passed.", second)]


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"schema": "tocsin.hunt.v1"}', b"[" * 100_000])
def test_garbage_is_named_once_and_keeps_no_other_result_back(tmp_path: Path, content: bytes) -> None:
    inbox = Inbox()
    look = HuntResults(tmp_path, inbox)
    hunt_result(tmp_path, "z9", "None passed.")
    garbage = tmp_path / "hunts" / "i1" / "summary.json"
    garbage.parent.mkdir()
    garbage.write_bytes(content)
    with pytest.raises(HuntResultError, match=r"i1/summary\.json: is no tocsin\.hunt\.v1"):
        look()
    look()
    assert [found.incident for found in inbox.drain() if isinstance(found, Hunted)] == ["z9"]


def test_a_result_in_the_folder_of_another_incident_is_not_believed(tmp_path: Path) -> None:
    inbox = Inbox()
    hunt_result(tmp_path, "i1", "None passed.", folder="i2")
    with pytest.raises(HuntResultError, match="is about incident 'i1', not its folder's"):
        HuntResults(tmp_path, inbox)()
    assert inbox.drain() == []


def test_the_audit_log_holds_a_result_once_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    for sentence in ("17 passed.", "17 passed.", "18 passed."):
        log = AuditLog(path, lambda: 0.0)
        book = FindingsBook(Anchors(read_records(path)), log)
        for _ in range(2):
            book.hunted(Hunted("i1", sentence, f"sha of {sentence}"))
        log.close()
    assert [record.body["summary"] for record in read_records(path)] == ["17 passed.", "18 passed."]
