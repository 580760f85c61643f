"""The command table, and what goes wrong as exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from monitor.cli.main import COMMANDS, Command, load, main

BROKEN = '''
from pathlib import Path
from monitor.settings.problems import ConfigError, Problem
from rollback.bundle import IntegrityError

def fine() -> None:
    """Do nothing.

    Example: tocsin fine
    """

def unexpected() -> None:
    raise KeyError("nids")

def expected() -> None:
    raise IntegrityError("model.onnx: digest differs")

def missing_file() -> None:
    Path("/no/such/file").read_text()

def configuration() -> None:
    raise ConfigError(Path("a.yaml"), [Problem("kafka.group_id", "missing"), Problem("mode", "unknown")])

def interrupted() -> None:
    raise KeyboardInterrupt
'''


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Command]:
    (tmp_path / "broken_commands.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    names = ("fine", "unexpected", "expected", "missing_file", "configuration", "interrupted")
    return {name: Command(f"broken_commands:{name}", f"Does {name}.") for name in names}


def run(arguments: list[str], commands: dict[str, Command], environ: dict[str, str] | None = None) -> object:
    with pytest.raises(SystemExit) as left:
        main(arguments, environ or {}, commands)
    return left.value.code


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("fine", 0, ""),
        ("unexpected", 1, "tocsin: KeyError: 'nids' (set TOCSIN_DEBUG=1 for the traceback)\n"),
        ("expected", 1, "tocsin: model.onnx: digest differs\n"),
        ("missing_file", 1, "tocsin: /no/such/file: No such file or directory\n"),
        ("configuration", 78, "tocsin: a.yaml: kafka.group_id: missing\na.yaml: mode: unknown\n"),
    ],
)
def test_each_kind_of_failure_has_its_exit_code_and_no_traceback(
    name: str, code: int, message: str, commands: dict[str, Command], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name], commands) == code
    assert capsys.readouterr().err == message


def test_an_interrupted_command_exits_with_130(commands: dict[str, Command]) -> None:
    assert run(["interrupted"], commands) == 130


def test_debugging_shows_the_traceback(commands: dict[str, Command], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["unexpected"], commands, {"TOCSIN_DEBUG": "1"}) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nope"], ["fine", "--nope"], ["--nope"]])
def test_wrong_usage_exits_with_2(arguments: list[str], commands: dict[str, Command]) -> None:
    assert run(arguments, commands) == 2


def test_a_misspelt_command_names_the_nearest_one(
    commands: dict[str, Command], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fime"], commands) == 2
    assert "Did you mean 'fine'?" in capsys.readouterr().err


def test_help_lists_every_command_and_loads_none(capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = {"far": Command("no.such.module:far", "Is far away.")}
    assert run(["--help"], nowhere) == 0
    assert "Is far away." in capsys.readouterr().out


def test_help_of_a_command_shows_its_example(commands: dict[str, Command], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fine", "--help"], commands) == 0
    assert "Example: tocsin fine" in capsys.readouterr().out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"], {}) == 0
    assert capsys.readouterr().out.startswith("tocsin ")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_can_be_loaded_and_shows_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(load(COMMANDS[name])) or isinstance(load(COMMANDS[name]), typer.Typer)
    assert run([name, "--help"], dict(COMMANDS)) == 0
    assert f"Example: tocsin {name} " in " ".join(capsys.readouterr().out.split())


def test_help_imports_neither_numpy_nor_torch() -> None:
    program = (
        "import sys\nfrom monitor.cli.main import main\n"
        "try:\n    main(['--help'], {})\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'torch', 'onnxruntime', 'kafka', 'pydantic'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
