"""Runs a SOC's own training command: with limits, without our secrets, without a shell."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from rollback.train.recipe import RecipeError

ALWAYS: Final = ("PATH", "LANG", "LC_ALL", "TZ")
GUARD: Final = Path(__file__).with_name("guarded.py")
LAST_LINES: Final = 5
LAST_BYTES: Final = 4096
MOST_SAID: Final = 64 * 2**20
LOOKS_SECONDS: Final = 1.0
"""The folder is looked at so often."""
ENDS_SECONDS: Final = 5.0
"""So long may ending what was started take."""


@dataclass(frozen=True, slots=True)
class Run:
    """``environment`` names the variables that the command sees besides PATH, LANG, LC_ALL and TZ.

    No file may become larger than ``file_bytes`` (or 64 MiB, if that is more), all in its folder than ``folder_bytes``,
    nor be more than ``folder_files``.
    """

    command: Sequence[str]
    environment: Sequence[str]
    timeout_seconds: float
    memory_bytes: int
    file_bytes: int
    folder_bytes: int = 2**40
    folder_files: int = 100_000


def run_command(run: Run, folder: Path, environ: Mapping[str, str]) -> None:
    """Run it in the folder and wait for it. Raises `RecipeError` with the last lines of what it said to stderr.

    Whatever it has started and left is killed when it ends (`guarded.py`), and its process group once more by us.
    """
    seen = {name: environ[name] for name in (*ALWAYS, *run.environment) if name in environ}
    program = shutil.which(run.command[0], path=seen.get("PATH", os.defpath))
    if program is None:
        raise RecipeError(f"exec: {run.command[0]}: there is no such program that may be run")
    limits = [str(os.getpid()), str(run.memory_bytes), str(max(run.file_bytes, MOST_SAID))]
    with tempfile.TemporaryFile() as said:  # has no name: the command cannot put a link or a pipe in its place
        process = subprocess.Popen(  # noqa: S603 - the command is the operator's, no shell reads it
            [sys.executable, "-I", str(GUARD), *limits, str(Path(program).absolute()), *run.command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            cwd=folder,
            env=seen | {"TMPDIR": str(folder), "HOME": seen.get("HOME", str(folder))},
            start_new_session=True,
        )
        why = ""
        try:
            why = _waited(process, run, folder)
        finally:
            _end(process)
        if why or process.returncode != 0:
            raise RecipeError(f"exec: {run.command[0]} {why or _why(process.returncode)}{_last_lines(said)}")


def _waited(process: subprocess.Popen[bytes], run: Run, folder: Path) -> str:
    """Wait until it has ended, and leave it unreaped: its number, and its group's, is nobody else's meanwhile.

    Returns why it has to be ended; "" where it has ended by itself.
    """
    deadline = time.monotonic() + run.timeout_seconds
    watched = os.pidfd_open(process.pid)
    try:
        while (left := deadline - time.monotonic()) > 0:
            if select.select([watched], [], [], min(left, LOOKS_SECONDS))[0]:
                return ""
            if why := _too_much(folder, run):
                return why
    finally:
        os.close(watched)
    return f"took longer than {run.timeout_seconds:g} s and was ended"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with whatever it has started: told first, so that it ends what has left its group, too."""
    watched = os.pidfd_open(process.pid)
    try:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        select.select([watched], [], [], ENDS_SECONDS)
    finally:
        os.close(watched)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _too_much(folder: Path, run: Run) -> str:
    """Whether the folder holds more files, or bytes on the disk, than it may; links are not followed."""
    files = used = 0
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    files += 1
                    used += 512 * entry.stat(follow_symlinks=False).st_blocks
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    if files > run.folder_files:
                        return f"left more than {run.folder_files} files in its folder and was ended"
                    if used > run.folder_bytes:
                        return f"left more than {run.folder_bytes // 2**20} MiB in its folder and was ended"
        except OSError:  # gone meanwhile, or closed to us: what is in it cannot be counted
            continue
    return ""


def _why(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = {signal.SIGXFSZ: ": it wrote a larger file than it may", signal.SIGKILL: ": perhaps out of memory"}
    return f"was ended by {name}{hint.get(signal.Signals(-code), '')}"


def _last_lines(file: IO[bytes]) -> str:
    file.seek(max(file.seek(0, os.SEEK_END) - LAST_BYTES, 0))
    text = file.read().decode("utf-8", "replace")
    lines = [plain for line in text.splitlines() if (plain := "".join(c for c in line if c.isprintable()).strip())]
    return f": {' | '.join(lines[-LAST_LINES:])}" if lines else ""
