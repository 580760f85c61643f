"""`tocsin incidents close` reaches the daemon, is kept in the audit log, and is done once."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest
from alert_lines import incident, line

from monitor.audited import DISMISSED, FindingsBook
from monitor.cli.main import main
from monitor.daemon import take_orders
from monitor.incidents.book import IncidentBook
from monitor.incidents.closing_desk import CLOSINGS, ClosingDesk
from monitor.incidents.dismissals import Dismissal
from monitor.loop import News
from rollback.audit.anchors import Anchors
from rollback.audit.log import FILE_NAME, AuditLog, read_records
from rollback.signing.keys import SigningKey, new_signing_key

ORDER = Dismissal("order-1", incident(1), "ada", "a test of ours", 5.0)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["incidents", "close", *arguments], environ={})
    return int(ended.value.code or 0)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tocsin.yaml"
    path.write_text("state_dir: state\n")
    (tmp_path / "state").mkdir()
    closed = line(2, activity="close", status="resolved", close_reason="over")
    (tmp_path / "state" / "incidents.ndjson").write_bytes(line(1) + b"\n" + line(2) + b"\n" + closed + b"\n")
    return path


def orders(config: Path) -> list[Dismissal]:
    return ClosingDesk(config.parent / "state" / CLOSINGS).new()


def test_the_command_puts_the_order_where_the_daemon_looks(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uid = f"{1:032x}"
    assert run(uid, "--config", str(config), "--reason", " a test\nof ours ", "--by", "ada") == 0
    (given,) = orders(config)
    assert (given.incident, given.by, given.reason) == (incident(1), "ada", "a test\\nof ours")
    assert "next turn" in capsys.readouterr().out
    (closed,) = IncidentBook().dismiss(given)
    assert (closed.uid, closed.activity, closed.close_reason) == (uid, "close", "a test\\nof ours")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((f"{2:032x}", "--reason", "x"), "is closed already: over"),
        ((f"{1:032x}", "--reason", " "), "--reason must say why"),
        (("f00d", "--reason", "x"), "must name one incident"),
    ],
)
def test_what_cannot_be_closed_is_said(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert run(*arguments, "--config", str(config)) == 1
    assert said in capsys.readouterr().err
    assert orders(config) == []


def key_files(folder: Path) -> tuple[SigningKey, Path]:
    key = new_signing_key()
    (folder / "ada.key").write_bytes(key.pem())
    (folder / "ada.key").chmod(0o600)
    (folder / "ada.pub").write_bytes(key.public.pem())
    return key, folder / "ada.key"


def test_where_approvers_are_configured_only_their_signed_orders_count(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, private = key_files(config.parent)
    config.write_text("state_dir: state\napprovers: {ada: ada.pub}\n")
    wanted = ("--config", str(config), "--reason", "x", "--by", "ada")
    assert run(f"{1:032x}", *wanted) == 1
    assert "cannot answer" in capsys.readouterr().err
    assert run(f"{1:032x}", *wanted, "--key", str(private)) == 0
    folder, complaints = config.parent / "state" / CLOSINGS, list[str]()
    ClosingDesk(folder).give(ORDER)
    (given,) = ClosingDesk(folder, {"ada": key.public}, complaints.append).new()
    assert given.by == "ada"
    assert given.id != ORDER.id
    assert len(complaints) == 1
    assert ClosingDesk(folder, {"ada": new_signing_key().public}).new() == []


def test_an_order_is_read_once_and_again_by_the_next_process(tmp_path: Path) -> None:
    desk = ClosingDesk(tmp_path / "none" / CLOSINGS)
    assert desk.new() == []
    desk.give(ORDER)
    assert desk.new() == [ORDER]
    assert desk.new() == []
    assert ClosingDesk(tmp_path / "none" / CLOSINGS).new() == [ORDER]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"id":"x"}'])
def test_what_is_no_order_is_said_once(tmp_path: Path, content: bytes) -> None:
    complaints: list[str] = []
    desk = ClosingDesk(tmp_path, None, complaints.append)
    (tmp_path / "odd.json").write_bytes(content)
    (tmp_path / "link.json").symlink_to("/etc/passwd")
    assert desk.new() == desk.new() == []
    assert sorted(Path(c.partition(":")[0]).name for c in complaints) == ["link.json", "odd.json"]


def test_an_order_that_was_renamed_is_none(tmp_path: Path) -> None:
    desk = ClosingDesk(tmp_path)
    desk.give(ORDER)
    (path,) = tmp_path.glob("*.json")
    path.rename(tmp_path / "other.json")
    assert desk.new() == []


def test_an_order_is_in_the_audit_log_before_the_loop_has_it_and_once(tmp_path: Path) -> None:
    for _ in range(2):
        desk, news = ClosingDesk(tmp_path / CLOSINGS), deque[News]()
        desk.give(ORDER)
        audit = AuditLog(tmp_path / FILE_NAME, lambda: 7.0)
        take_orders(desk, news, FindingsBook(Anchors(()), audit))
        audit.close()
        assert list(news) == [ORDER]
    noted = [r.body for r in read_records(tmp_path / FILE_NAME) if r.kind == DISMISSED]
    uid = ORDER.incident.uid
    about = {"incident": uid, "by": "ada", "reason": "a test of ours", "order": "order-1", "given_at": 5.0}
    assert noted == [about]
