"""Runs a SOC's own training command: with limits, without our secrets, without a shell."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rollback.train.recipe import RecipeError

ALWAYS: Final = ("PATH", "LANG", "LC_ALL", "TZ")
GUARD: Final = Path(__file__).with_name("guarded.py")
LAST_LINES: Final = 5
LAST_BYTES: Final = 4096
MOST_SAID: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Run:
    """``environment`` names the variables that the command sees besides PATH, LANG, LC_ALL and TZ."""

    command: Sequence[str]
    environment: Sequence[str]
    timeout_seconds: float
    memory_bytes: int
    file_bytes: int


def run_command(run: Run, folder: Path, environ: Mapping[str, str]) -> None:
    """Run it in the folder and wait for it. Raises `RecipeError` with the last lines of what it said to stderr.

    Whatever it has started and left in its process group is killed when it ends.
    """
    seen = {name: environ[name] for name in (*ALWAYS, *run.environment) if name in environ}
    program = shutil.which(run.command[0], path=seen.get("PATH", os.defpath))
    if program is None:
        raise RecipeError(f"exec: {run.command[0]}: there is no such program that may be run")
    limits = [str(os.getpid()), str(run.memory_bytes), str(max(run.file_bytes, MOST_SAID))]
    with (folder / "stderr").open("wb") as said:
        process = subprocess.Popen(  # noqa: S603 - the command is the operator's, no shell reads it
            [sys.executable, "-I", str(GUARD), *limits, str(Path(program).absolute()), *run.command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            cwd=folder,
            env=seen | {"TMPDIR": str(folder), "HOME": seen.get("HOME", str(folder))},
            start_new_session=True,
        )
    try:
        code: int | None = process.wait(run.timeout_seconds)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if code != 0:
        raise RecipeError(f"exec: {run.command[0]} {_why(code, run)}{_last_lines(folder / 'stderr')}")


def _why(code: int | None, run: Run) -> str:
    if code is None:
        return f"took longer than {run.timeout_seconds:g} s and was ended"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = {signal.SIGXFSZ: ": it wrote a larger file than it may", signal.SIGKILL: ": perhaps out of memory"}
    return f"was ended by {name}{hint.get(signal.Signals(-code), '')}"


def _last_lines(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - LAST_BYTES, 0))
        text = file.read().decode("utf-8", "replace")
    lines = [plain for line in text.splitlines() if (plain := "".join(c for c in line if c.isprintable()).strip())]
    return f": {' | '.join(lines[-LAST_LINES:])}" if lines else ""
