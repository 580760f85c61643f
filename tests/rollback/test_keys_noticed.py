"""While a daemon runs, who is trusted may change: the audit log holds it, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from monitor.audited import FindingsBook
from monitor.inbox import Inbox, KeysRead
from monitor.jobs.trusted_keys import TrustedKeys
from monitor.key_use import KEYS, START, key_ids
from monitor.settings.config import Config, SigningConfig
from rollback.audit.anchors import Anchors
from rollback.audit.log import FILE_NAME, AuditLog, read_records
from rollback.signing.keys import KeyFileError, new_signing_key
from rollback.signing.trust_list import TrustedKey, TrustList, added, read_trust_list, revoked, write_trust_list

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE, TWO = sorted((new_signing_key().public for _ in range(2)), key=lambda key: key.key_id)


@dataclass
class Daemon:
    """The job, the inbox and the book, as `tocsin run` has them; `now` is its clock."""

    folder: Path
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.trust = self.folder / "trust.json"
        write_trust_list(self.trust, TrustList((self.entry(ONE, valid_until=NOW + timedelta(days=1)),)))
        self.config = Config(signing=SigningConfig(trusted_keys=[self.trust]))
        self.log = AuditLog(self.folder / FILE_NAME, lambda: 0.0)
        self.start()

    @staticmethod
    def entry(key: Any, **more: Any) -> TrustedKey:
        return TrustedKey(key_id=key.key_id, public=key.raw.hex(), **more)

    def clock(self) -> float:
        return self.now.timestamp()

    def start(self) -> None:
        self.inbox = Inbox()
        self.job = TrustedKeys(self.config, self.inbox, self.clock)
        self.log.append(START, key_ids(self.config, self.now))
        self.book = FindingsBook(Anchors([]), self.log)

    def look(self) -> list[list[str]]:
        """What is in the log of changes after a look and its taking."""
        self.job()
        for found in self.inbox.drain():
            assert isinstance(found, KeysRead)
            self.book.keys(found)
        return [record.body["changed"] for record in read_records(self.folder / FILE_NAME) if record.kind == KEYS]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    made.log.close()


def test_nothing_is_noted_while_nothing_changes(daemon: Daemon) -> None:
    assert [daemon.look() for _ in range(3)] == [[], [], []]


def test_a_key_that_is_trusted_and_one_that_is_revoked_are_noted_once_each(daemon: Daemon) -> None:
    write_trust_list(daemon.trust, added(read_trust_list(daemon.trust), daemon.entry(TWO)))
    first = [f"key {TWO.key_id} is trusted"]
    assert [daemon.look(), daemon.look()] == [[first]] * 2
    write_trust_list(daemon.trust, revoked(read_trust_list(daemon.trust), ONE.key_id, NOW, "ann", "stolen"))
    second = [f"key {ONE.key_id} is not believed any more: revoked 2026-11-22T12:00:00+00:00 by ann: stolen"]
    with structlog.testing.capture_logs() as said:
        assert [daemon.look(), daemon.look()] == [[first, second]] * 2
    assert [each["changes"] for each in said] == [second]
    daemon.start()
    assert daemon.look() == [first, second]


def test_a_change_between_start_and_first_look_is_no_less_one(daemon: Daemon) -> None:
    write_trust_list(daemon.trust, TrustList((daemon.entry(TWO),)))
    assert daemon.look() == [[f"key {TWO.key_id} is trusted", f"key {ONE.key_id} is not named any more"]]


def test_a_key_expires_and_is_prolonged(daemon: Daemon) -> None:
    daemon.now = NOW + timedelta(days=2)
    over = "expired 2026-11-23T12:00:00+00:00"
    assert daemon.look() == [[f"key {ONE.key_id} is not believed any more: {over}"]]
    write_trust_list(daemon.trust, TrustList((daemon.entry(ONE, valid_until=NOW + timedelta(days=9)),)))
    assert daemon.look()[1:] == [[f"key {ONE.key_id} is believed again, which was {over}"]]


def test_another_signing_key_is_noted(daemon: Daemon) -> None:
    key = new_signing_key()
    file = daemon.folder / "own.pem"
    file.touch(mode=0o600)
    file.write_bytes(key.pem())
    daemon.config = Config(signing=SigningConfig(trusted_keys=[daemon.trust], key_file=file))
    daemon.start()
    file.write_bytes(new_signing_key().pem())
    ((change,),) = daemon.look()
    assert change.endswith(f", and was {key.public.key_id}")


def test_a_list_that_cannot_be_read_is_named_and_nothing_is_noted(daemon: Daemon) -> None:
    content = daemon.trust.read_bytes()
    daemon.trust.write_text("{")
    with pytest.raises(KeyFileError, match=r"trust\.json: is no list of trusted keys"):
        daemon.job()
    daemon.trust.write_bytes(content)
    assert daemon.look() == []
