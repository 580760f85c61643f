"""What `tocsin status` and `tocsin incidents` show, on a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from daemon_process import wait_until
from told_state import START, UID, messages, tell, window, write_lines

from monitor.cli.main import main
from monitor.status import last_windows, read_status
from monitor.window_lines import WindowLine

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


def test_of_two_versions_the_one_that_serves_is_shown(tmp_path: Path) -> None:
    write_lines(tmp_path / "windows.ndjson", [window(0, "2"), {**window(1, "1"), "registry": {"serving": "2"}}])
    assert last_windows(tmp_path / "windows.ndjson")["nids"].version == "2"


def test_a_line_of_any_version_is_read() -> None:
    line = msgspec.json.decode(b'{"model": "nids", "detectors": {"probing": {"status": "fired"}}}', type=WindowLine)
    assert (line.fired(), line.gauge("probing", "x"), line.registry.serving) == (["probing"], None, None)


def test_status_in_a_pipe_is_whole_lines_and_json_is_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--config", config) == 0
    head, first, second, *_ = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["model", "verdict"]
    assert first.startswith("nids   poisoning (backdoor)  97.0%")
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


def test_watching_follows_what_is_written_and_ends_with_ctrl_c(config: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "monitor", "status", "--config", str(config), "--watch", "--every", "0.2"]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=environ)
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
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_incidents_are_listed_and_shown_for_people_and_for_machines(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("incidents", "list", "--config", config) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["uid", "model", "version", "status", "family", "hypothesis", "confidence", "severity"]
    assert line.split() == [UID, "nids", "2", "confirmed", "poisoning", "backdoor", "0.97", "9"]
    assert run("incidents", "show", "49f0", "--config", config) == 0
    told = capsys.readouterr().out
    for part in (
        "poisoning (backdoor), confirmed",
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
