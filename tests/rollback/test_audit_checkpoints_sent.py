"""Signed checkpoints of the audit log leave the machine: in every incident, and on a topic of their own."""

from __future__ import annotations

import json
from pathlib import Path

from monitor.jobs.audit_checkpoint import AuditCheckpoint
from monitor.response import NoResponse
from rollback.audit.checkpoint import read_signed
from rollback.audit.log import FILE_NAME, AuditLog
from rollback.audit.verification import verify
from rollback.signing.keys import Keys, new_signing_key

KEYS = Keys.of(new_signing_key())


class Lines:
    """An outlet that keeps what it was given."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def append(self, line: bytes) -> None:
        self.kept.append(line)

    def flush(self) -> None:
        """Nothing waits."""


def test_each_checkpoint_is_sent_once_and_finds_a_log_that_was_cut_off(tmp_path: Path) -> None:
    path, lines = tmp_path / FILE_NAME, Lines()
    send = AuditCheckpoint(path, lines, lambda: 5.0)
    send()
    log = AuditLog(path, lambda: 1.0, KEYS)
    for _ in range(3):
        log.append("start", {})
        send()
        send()
    log.close()
    sent = [json.loads(line) for line in lines.kept]
    kept = [read_signed(each["checkpoint"].encode(), KEYS.trusted) for each in sent]
    assert [(each.size, line["at"]) for each, line in zip(kept, sent, strict=True)] == [(1, 5.0), (2, 5.0), (3, 5.0)]
    assert verify(path, None, KEYS, kept).records == 3
    assert log.note == sent[-1]["checkpoint"]


def test_without_a_log_an_incident_names_none() -> None:
    assert NoResponse().checkpoint() == ""
