"""What a hunt has found reaches the loop once, and the audit log once, whoever wrote the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hunted import hunt_result

from monitor.audited import FindingsBook
from monitor.inbox import Hunted, Inbox
from monitor.jobs.hunt_results import HuntResultError, HuntResults
from monitor.messages import Incident
from rollback.audit.anchors import Anchors
from rollback.audit.log import FILE_NAME, AuditLog, read_records

INCIDENT: Final[dict[str, Any]] = {
    "uid": "", "activity": "update", "status": "confirmed", "model": "nids", "version": "2", "last_known_good": "1",
    "opened_at": 0.0, "at": 1.0, "window": {"index": 0, "first_id": "a", "last_id": "b"}, "family": "poisoning",
    "hypothesis": "backdoor", "confidence": 0.9, "family_confidence": 1.0, "severity": 9, "summary": "It is.",
}  # fmt: skip


def known(state: Path, *uids: str) -> None:
    """Incidents that were told."""
    lines = [msgspec.json.encode(msgspec.convert(INCIDENT | {"uid": uid}, Incident)) for uid in uids]
    (state / "incidents.ndjson").write_bytes(b"".join(line + b"\n" for line in lines))


def test_a_result_is_taken_once_and_again_when_another_hunt_replaced_it(tmp_path: Path) -> None:
    inbox = Inbox()
    look = HuntResults(tmp_path, inbox)
    look()
    known(tmp_path, "i1")
    first = hunt_result(tmp_path, "i1", "17 attacks passed.")
    look()
    look()
    second = hunt_result(tmp_path, "i1", "18 attacks passed.")
    look()
    assert inbox.drain() == [Hunted("i1", "17 attacks passed.", first), Hunted("i1", "18 attacks passed.", second)]


def test_everything_odd_is_named_every_time_and_keeps_no_other_result_back(tmp_path: Path) -> None:
    inbox = Inbox()
    look = HuntResults(tmp_path, inbox)
    known(tmp_path, "z9", *(f"i{i}" for i in range(8)))
    hunt_result(tmp_path, "z9", "None passed.")
    contents = [b"", b"[]", b"\xff", b'{"schema": "tocsin.hunt.v1"}', b"[" * 100_000]
    places = [tmp_path / "hunts" / f"i{i}" / "summary.json" for i in range(8)]
    for place in places:
        place.parent.mkdir()
    for place, content in zip(places, contents, strict=False):
        place.write_bytes(content)
    places[5].mkdir()
    os.mkfifo(places[6])
    places[7].symlink_to(places[0])
    for _ in range(2):
        with pytest.raises(HuntResultError) as wrong:
            look()
        assert [str(place) in str(wrong.value) for place in places] == [True] * 8
    assert [found.incident for found in inbox.drain() if isinstance(found, Hunted)] == ["z9"]


def test_a_result_about_an_incident_that_nobody_was_told_of_is_not_believed(tmp_path: Path) -> None:
    inbox = Inbox()
    look = HuntResults(tmp_path, inbox)
    hunt_result(tmp_path, "i1", "None passed.", folder="i2")
    known(tmp_path, "i3")
    hunt_result(tmp_path, "i4", "None passed.")
    with pytest.raises(HuntResultError, match=r"about incident 'i1', not its folder's.*holds no incident 'i4'"):
        look()
    assert inbox.drain() == []
    known(tmp_path, "i3", "i4")  # told again after a crash
    with pytest.raises(HuntResultError):
        look()
    assert [found.incident for found in inbox.drain() if isinstance(found, Hunted)] == ["i4"]


def test_a_sentence_that_an_incident_cannot_hold_is_cut_and_nothing_in_it_is_an_order(tmp_path: Path) -> None:
    inbox = Inbox()
    known(tmp_path, "i1")
    hunt_result(tmp_path, "i1", "a\x1b[2J\n" + "b" * 10_000)
    HuntResults(tmp_path, inbox)()
    (found,) = inbox.drain()
    assert isinstance(found, Hunted)
    assert (found.summary[:9], len(found.summary)) == ("a\\x1b[2J\\n"[:9], 503)


def test_the_audit_log_holds_a_result_once_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    for sentence in ("17 passed.", "17 passed.", "18 passed."):
        log = AuditLog(path, lambda: 0.0)
        book = FindingsBook(Anchors(read_records(path)), log)
        for _ in range(2):
            book.hunted(Hunted("i1", sentence, f"sha of {sentence}"))
        log.close()
    assert [record.body["summary"] for record in read_records(path)] == ["17 passed.", "18 passed."]
