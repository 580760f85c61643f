"""An operator's command: what it is given, what its end means, and that nothing of it is left behind."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from rollback.reload.adapter import Site
from rollback.reload.exec import ExecReloader, Settings
from rollback.reload.reloader import ReloadRefusedError, ReloadRetryableError
from rollback.reload.v2_client import V2Settings


def reloader(
    *command: str, seconds: float = 30.0, environ: dict[str, str] | None = None, see: str = ""
) -> ExecReloader:
    site = Site("nids", (), V2Settings(load_timeout_seconds=seconds), environ or {"PATH": os.defpath})
    return ExecReloader(Settings(command, tuple(filter(None, [see]))), site)


def python(program: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", program, *arguments)


def test_versions_and_model_are_arguments_or_parts_of_them_and_no_shell_reads_them(tmp_path: Path) -> None:
    out = tmp_path / "said"
    program = "import json, sys; json.dump(sys.argv[2:], open(sys.argv[1], 'w'))"
    arguments = ("{target}", "from={expected}&to={target}", "{model}", "$(id)", "a b", "{else}", "`id`;*")
    reloader(*python(program, str(out), *arguments)).start("{target}", "1; rm -rf x")
    assert json.loads(out.read_text()) == [
        "1; rm -rf x", "from={target}&to=1; rm -rf x", "nids", "$(id)", "a b", "{else}", "`id`;*",
    ]  # fmt: skip


def test_an_expected_version_that_is_not_known_is_empty(tmp_path: Path) -> None:
    reloader(
        *python("import sys; open(sys.argv[1], 'w').write(sys.argv[2])", str(tmp_path / "x"), "<{expected}>")
    ).start(None, "1")
    assert (tmp_path / "x").read_text() == "<>"


def test_exit_code_75_may_be_tried_again_and_the_message_ends_with_what_the_command_said() -> None:
    program = "import sys; print('one\\ntwo\\nthree\\n\\x1b[2Jfour', file=sys.stderr); sys.exit(75)"
    with pytest.raises(ReloadRetryableError, match=r"exit code 75, it may be tried again: two \| three \| \[2Jfour$"):
        reloader(*python(program)).start("2", "1")


@pytest.mark.parametrize("code", [1, 2, 74, 76, 255])
def test_any_other_exit_code_is_a_refusal(code: int) -> None:
    with pytest.raises(ReloadRefusedError, match=rf"exit code {code}: no$"):
        reloader(*python(f"import sys; print('no', file=sys.stderr); sys.exit({code})")).start("2", "1")


def test_a_command_that_a_signal_ends_is_a_refusal() -> None:
    with pytest.raises(ReloadRefusedError, match="was ended by SIGKILL"):
        reloader(*python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")).start("2", "1")


def test_a_command_without_end_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    program = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "open(sys.argv[1], 'w').write(str(child.pid))\n"
        "print('waiting', file=sys.stderr, flush=True)\n"
        "time.sleep(600)"
    )
    with pytest.raises(ReloadRetryableError, match=r"took longer than 5 s and was killed: waiting$"):
        reloader(*python(program, str(tmp_path / "pid")), seconds=5.0).start("2", "1")
    assert gone(int((tmp_path / "pid").read_text()))


def test_what_a_command_leaves_running_is_ended_with_it(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys\n"
        "open(sys.argv[1], 'w').write(str(subprocess.Popen(['sleep', '600']).pid))"
    )  # fmt: skip
    reloader(*python(program, str(tmp_path / "pid"))).start("2", "1")
    assert gone(int((tmp_path / "pid").read_text()))


def gone(process: int) -> bool:
    """Whether it has ended; whoever inherited it may take a moment to notice."""
    for _ in range(1000):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def test_who_leaves_the_group_and_holds_the_pipe_is_not_waited_for(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "open(sys.argv[1], 'w').write(str(child.pid))\n"
        "print('gone', file=sys.stderr, flush=True)\n"
        "sys.exit(3)"
    )
    with pytest.raises(ReloadRefusedError, match=r"exit code 3: gone$"):
        reloader(*python(program, str(tmp_path / "pid"))).start("2", "1")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_who_writes_without_end_is_not_waited_for_by_anybody() -> None:
    program = "import sys\nfor _ in range(2000): sys.stderr.write('x' * 99 + '\\n')\nsys.exit(1)"
    with pytest.raises(ReloadRefusedError) as caught:
        reloader(*python(program)).start("2", "1")
    assert str(caught.value).endswith(" | ".join(["x" * 99] * 3))


def test_the_environment_holds_only_what_is_named(tmp_path: Path) -> None:
    program = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    environ = {"PATH": "/bin", "SECRET": "geheim", "KUBECONFIG": "/k", "TZ": "UTC", "LC_CTYPE": "C"}
    reloader(*python(program, str(tmp_path / "x")), environ=environ, see="KUBECONFIG").start("2", "1")
    seen = json.loads((tmp_path / "x").read_text())
    seen.pop("LC_CTYPE", None)  # Python sets it itself
    assert seen == {"PATH": "/bin", "KUBECONFIG": "/k", "TZ": "UTC"}


def test_a_program_that_is_not_there_is_told_before_it_is_needed() -> None:
    missing = reloader("no-such-program-of-ours")
    assert missing.obstacles() == ("no-such-program-of-ours: there is no such program that may be run",)
    with pytest.raises(ReloadRefusedError, match="no-such-program-of-ours: there is no such program"):
        missing.start("2", "1")


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x00\x01")
    broken.chmod(0o700)
    with pytest.raises(ReloadRefusedError, match="cannot be run: Exec format error"):
        reloader(str(broken)).start("2", "1")


def test_without_endpoints_nobody_is_asked() -> None:
    assert reloader("true").observe("1", None) == ()


@pytest.mark.parametrize(
    ("command", "environment", "said"),
    [
        ((), (), "command: the program is missing"),
        (("",), (), "command: the program is missing"),
        (("a\0",), (), "null character"),
        (("a",), ("A=B",), "'A=B' is no name"),
        (("a",), ("",), "'' is no name"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    command: tuple[str, ...], environment: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(command, environment)
