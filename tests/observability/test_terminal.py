"""What `tocsin status` and `tocsin incidents` show, on a terminal and in a pipe."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from daemon_process import wait_until
from told_state import START, UID, messages, tell, window, write_lines

from monitor.cli import incident_view, status
from monitor.cli.main import main
from monitor.cli.screen import draw
from monitor.incidents.still_open import last_told
from monitor.status import last_windows, read_status
from monitor.window_lines import WindowLine

COLOURS = re.compile("\x1b\\[[0-9;]*m")
HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]x[/]\u202e\nforged"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    tell(tmp_path / "state")
    path = tmp_path / "tocsin.yaml"
    path.write_text("state_dir: state\nmodels: {nids: {}, quiet: {}}\n")
    return path


def run(*arguments: str | Path) -> object:
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments], environ={})
    return left.value.code


def test_a_model_in_trouble_comes_first_with_its_gravest_open_incident(tmp_path: Path) -> None:
    state = tell(tmp_path)
    found = read_status(state, ["quiet", "nids"], START + 66.0)
    assert [row.model for row in found.models] == ["nids", "quiet"]
    first, other = found.models
    assert (first.verdict, first.hypothesis, first.confidence, first.incidents) == (
        "poisoning",
        "backdoor",
        0.97,
        (UID,),
    )
    assert (first.serving, first.last_known_good, first.window_age, first.window_events) == ("2", "1", 60.0, 1000)
    assert first.fired == ("version_disagreement", "retraining_buffer")
    assert (other.verdict, other.window_age, other.incidents) == ("", None, ())
    assert found.checkpoint_age is None


def test_what_waits_for_a_person_is_counted(tmp_path: Path) -> None:
    log = tell(tmp_path) / "audit.ndjson"
    assert read_status(tmp_path, (), START).models[0].waiting == 0
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:1]))
    assert read_status(tmp_path, (), START).models[0].doing == ("rollback: verify",)


def test_the_last_window_is_found_at_the_end_of_a_long_file_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "windows.ndjson"
    write_lines(path, [window(index, "1", None) for index in range(200)])
    with path.open("ab") as file:
        file.write(b'{"model": "ni')
    found = last_windows(path, tail=20_000)
    assert found["nids"].index == 199
    assert last_windows(tmp_path / "none") == {}


def test_a_model_whose_windows_are_too_far_back_is_not_called_new(tmp_path: Path) -> None:
    old = {**window(0, "1", None), "model": "quiet"}
    write_lines(tmp_path / "windows.ndjson", [old, *(window(index, "1", None) for index in range(20))])
    for tail, said in ((1_000_000, "stable"), (5_000, "no window lately")):
        found = read_status(tmp_path, ["quiet"], START, tail=tail)
        terminal = io.StringIO()
        draw(status.parts(found), terminal)
        assert said in next(line for line in terminal.getvalue().splitlines() if line.startswith("quiet"))


def test_of_two_versions_the_one_that_serves_is_shown(tmp_path: Path) -> None:
    write_lines(tmp_path / "windows.ndjson", [window(0, "2"), {**window(1, "1"), "registry": {"serving": "2"}}])
    assert last_windows(tmp_path / "windows.ndjson")["nids"].version == "2"


def test_of_a_version_that_serves_no_longer_the_newest_window_is_shown(tmp_path: Path) -> None:
    rolled_back = {"registry": {"serving": "1"}}  # an endpoint goes on with version 2 all the same
    write_lines(tmp_path / "windows.ndjson", [window(0, "2"), *({**window(n, "2"), **rolled_back} for n in (1, 2))])
    assert last_windows(tmp_path / "windows.ndjson")["nids"].index == 2


def test_a_line_of_any_version_is_read() -> None:
    line = msgspec.json.decode(b'{"model": "nids", "detectors": {"probing": {"status": "fired"}}}', type=WindowLine)
    assert (line.fired(), line.gauge("probing", "x"), line.registry.serving) == (["probing"], None, None)


def test_status_in_a_pipe_is_whole_lines_and_json_is_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--config", config) == 0
    warning, _, head, first, second, *_ = capsys.readouterr().out.splitlines()
    assert "start the daemon" in warning
    assert head.split()[:2] == ["model", "verdict"]
    assert first.startswith("nids   poisoning (backdoor), confirmed, 97.0%, severity 9  2 (known good: 1)  ")
    assert "no window yet" in second
    assert not any(line != line.rstrip() for line in (head, first, second))
    assert run("status", "--config", config, "--json") == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["incidents"] == [UID]
    assert run("status", "--config", config, "--watch") == 2
    assert "follows on a terminal only" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_hold_is_shown_above_everything(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("response", "hold", "--config", config) == 0
    capsys.readouterr()
    assert run("status", "--config", config) == 0
    assert capsys.readouterr().out.startswith("everything is on hold")


@pytest.mark.parametrize(("ends_with", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_watching_follows_what_is_written_and_ends_with_ctrl_c(
    config: Path, ends_with: signal.Signals, code: int
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "monitor", "status", "--config", str(config), "--watch", "--every", "0.2"]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
    # who starts the tests in the background of a script has them, and all that they start, ignore Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=environ)
    signal.signal(signal.SIGINT, before)
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = bytearray()

    def sees(text: bytes) -> bool:
        try:
            shown.extend(os.read(ours, 65536))
        except (BlockingIOError, OSError):
            time.sleep(0.02)
        return text in shown

    try:
        wait_until(lambda: sees(b"poisoning (backdoor)"), "the table")
        state, last = config.parent / "state", messages()[-1]
        write_lines(state / "incidents.ndjson", [last, msgspec.structs.replace(last, activity="close")])
        write_lines(state / "windows.ndjson", [window(9, "3", None)])
        wait_until(lambda: sees(b"stable"), "the table of now")
        process.send_signal(ends_with)
        # read on: who writes to a full terminal does not end
        wait_until(lambda: sees(b"\x1b[?25h") and process.poll() is not None, "the end")
        assert process.returncode == code
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_incidents_are_listed_and_shown_for_people_and_for_machines(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("incidents", "list", "--config", config) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["uid", "model", "version", "status", "verdict", "confidence", "severity"]
    assert line.split() == [UID, "nids", "2", "confirmed", "poisoning", "(backdoor)", "97.0%", "9"]
    assert run("incidents", "list", "--config", config, "--json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["uid"], listed["hypothesis"], listed["confidence"]) == (UID, "backdoor", 0.97)
    assert (listed["activity"], listed["folded"], listed["close_reason"]) == ("update", 0, "")
    assert run("incidents", "show", "49f0", "--config", config) == 0
    told = capsys.readouterr().out
    for part in (
        "poisoning (backdoor), confirmed, open",
        "Rollback to version 1 is done. The incident is open.",
        "label flip",
        "failed_logins  5",
        "every endpoint serves version 1",
    ):
        assert part in told
    assert run("incidents", "show", "49f0", "--config", config, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(msgspec.json.encode(messages()[-1]))


def test_hostile_names_reach_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell(tmp_path / "state", HOSTILE)
    (tmp_path / "tocsin.yaml").write_text("state_dir: state\n")
    for command in (("status",), ("incidents", "list"), ("incidents", "show", "49f0")):
        assert run(*command, "--config", tmp_path / "tocsin.yaml") == 0
        told = capsys.readouterr().out
        assert all(character.isprintable() or character == "\n" for character in told)
        assert not any(line.startswith("forged") for line in told.splitlines())
    assert "[bold red]x[/]" in told


def test_a_terminal_that_lacks_a_letter_shows_its_number(tmp_path: Path) -> None:
    write_lines(tmp_path / "incidents.ndjson", [msgspec.structs.replace(messages()[-1], version="\u4e2d")])
    written = io.BytesIO()
    terminal = io.TextIOWrapper(written, encoding="ascii")
    draw([incident_view.listed(last_told(tmp_path))], terminal)
    terminal.flush()
    assert b"\\u4e2d" in written.getvalue()


class Terminal(io.StringIO):
    """What is drawn on a terminal."""

    def isatty(self) -> bool:
        return True


def drawn(state: Path, columns: int, monkeypatch: pytest.MonkeyPatch, **environ: str) -> str:
    """Status, list and one incident on a terminal so wide."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", "COLUMNS": str(columns), **environ}.items():
        monkeypatch.setenv(name, value)
    found = last_told(state)
    terminal = Terminal()
    draw(status.parts(read_status(state, (), START)), terminal)
    draw([incident_view.listed(found, closed=True, short=True)], terminal)
    draw(incident_view.parts(found[0]), terminal)
    return terminal.getvalue()


@pytest.mark.parametrize("columns", [40, 80])
def test_a_narrow_terminal_gets_whole_words(tmp_path: Path, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told = COLOURS.sub("", drawn(tell(tmp_path), columns, monkeypatch))
    assert "\x1b" not in told
    assert max(map(len, told.splitlines())) <= columns
    words = re.findall(r"[a-z_]{4,}", told)
    assert set(words) <= set(re.findall(r"[a-z_]{4,}", COLOURS.sub("", drawn(tmp_path, 500, monkeypatch))))


def test_colours_come_on_a_terminal_only_and_not_where_nobody_wants_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coloured = re.compile("\x1b\\[[0-9;]*3[0-9]")
    assert coloured.search(drawn(tell(tmp_path), 120, monkeypatch))
    assert not coloured.search(drawn(tmp_path, 120, monkeypatch, NO_COLOR="1"))
    assert not coloured.search(drawn(tmp_path, 120, monkeypatch, TERM="dumb"))


def test_on_a_terminal_hostile_names_cannot_move_the_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(tmp_path, HOSTILE)
    for columns in (40, 160):
        plain = COLOURS.sub("", drawn(tmp_path, columns, monkeypatch))
        assert all(character.isprintable() or character == "\n" for character in plain)
        assert not any(line.startswith("forged") for line in plain.splitlines())


def test_who_closed_an_incident_and_why_is_listed_and_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reason = "a test of ours " * 30
    closed = {"activity": "close", "status": "resolved", "close_reason": reason, "closed_by": "ann", "folded": 12}
    write_lines(config.parent / "state" / "incidents.ndjson", [msgspec.structs.replace(messages()[-1], **closed)])
    assert run("incidents", "list", "--config", config) == 0
    assert capsys.readouterr().out == "no incident is open\n"
    assert run("incidents", "list", "--all", "--config", config) == 0
    assert "a test of ours" in capsys.readouterr().out
    assert run("incidents", "show", "49f0", "--config", config) == 0
    told = capsys.readouterr().out
    assert "poisoning (backdoor), resolved, closed" in told
    assert "12 windows since the message before showed the same" in told
    assert f"{reason.strip()} , by ann" in told
    assert run("status", "--config", config) == 0
    assert "no incident" not in capsys.readouterr().out


def test_a_suspicion_is_called_one(tmp_path: Path) -> None:
    state = tell(tmp_path)
    write_lines(state / "incidents.ndjson", messages()[:1])
    row = read_status(state, ["nids"], START).models[0]
    assert (row.verdict, row.status, row.severity) == ("inconclusive", "suspected", 9)


def test_a_daemon_that_gives_no_sign_of_life_is_missed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--config", config) == 0
    assert "nothing was kept here yet: start the daemon with tocsin run" in capsys.readouterr().out
    kept = config.parent / "state" / "checkpoints" / "000000000001-x.state"
    kept.parent.mkdir()
    kept.write_bytes(b"")
    assert run("status", "--config", config) == 0
    assert "the daemon last kept its state " in capsys.readouterr().out
    os.utime(kept, (time.time() - 7200, time.time() - 7200))
    assert run("status", "--config", config) == 0
    assert "the daemon gives no sign of life: it last kept its state 2 h ago" in capsys.readouterr().out


def test_a_state_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tocsin.yaml").write_text("state_dir: elsewhere\n")
    for command in ("status", "incidents list"):
        assert run(*command.split(), "--config", tmp_path / "tocsin.yaml") == 1
        assert "elsewhere: is no folder; give the state_dir" in capsys.readouterr().err


def test_a_message_of_a_newer_version_is_refused_for_people_and_given_to_machines(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config.parent / "state" / "incidents.ndjson"
    line = json.loads(path.read_text().splitlines()[-1])
    path.write_text(json.dumps({**line, "hypothesis": "not_known_yet"}) + "\n")
    assert run("incidents", "show", "49f0", "--config", config) == 1
    assert "was it written by a newer one? --json shows it as it is" in capsys.readouterr().err
    assert run("incidents", "show", "49f0", "--config", config, "--json") == 0
    assert json.loads(capsys.readouterr().out)["hypothesis"] == "not_known_yet"
