"""A command of the operator's makes the servers load a version: for whatever no other adapter speaks to.

The command must be harmless where it is repeated, and should change nothing where neither ``expected`` nor ``target``
serves. It is never read by a shell.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from rollback.canary.canaries import Canaries
from rollback.reload.adapter import STRICT, Site
from rollback.reload.endpoints import Endpoints
from rollback.reload.exchange import plain
from rollback.reload.reloader import Observation, Reloader, ReloadRefusedError, ReloadRetryableError
from rollback.reload.settle import settle
from rollback.reload.template import fill

ASKS_BY_ITSELF: Final = False
NEEDS_SETTINGS: Final = True
LAST_LINES: Final = 3
LAST_BYTES: Final = 4096
READ_SECONDS: Final = 1.0
"""For what the command has written last: whoever held its end open has been killed."""
ALWAYS: Final = ("PATH", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run.

    Exit code 0 means that every server was told, 75 (EX_TEMPFAIL of sysexits.h) that the same may be tried again;
    anything else is a refusal. It may take ``load_timeout_seconds``; then it is killed, with all it has started.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    command: tuple[str, ...]
    """The program (a path, or a name that PATH finds) and its arguments; `{expected}` (empty where it is not known),
    `{target}` and `{model}` stand for what they say, also inside of an argument."""
    environment: tuple[str, ...] = ()
    """Names of variables that the command sees besides PATH, LANG, LC_ALL and TZ."""

    def __post_init__(self) -> None:
        if not self.command or not self.command[0]:
            raise ValueError("command: the program is missing")
        if any("\0" in each for each in self.command):
            raise ValueError("command: holds a null character")
        if strange := [name for name in self.environment if not name or "=" in name or "\0" in name]:
            raise ValueError(f"environment: {strange[0]!r} is no name of a variable")


def make(settings: Settings, site: Site) -> Reloader:
    """The servers of ``site``."""
    return ExecReloader(settings, site)


class ExecReloader:
    """`start` takes at most ``load_timeout_seconds`` and one second; endpoints, if any, are asked by V2.

    These are waited for as long as time is left, and one look: the command may have ended before they have loaded.
    """

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._site = site
        self._endpoints = Endpoints(site.endpoints, site.model, site.asking)
        seen = (*ALWAYS, *settings.environment)
        self._environ = {name: site.environ[name] for name in seen if name in site.environ}

    def start(self, expected: str | None, target: str) -> None:
        """See `Reloader.start`."""
        values = {"{expected}": expected or "", "{target}": target, "{model}": self._site.model}
        command = [fill(each, values) for each in self._settings.command]
        seconds = self._site.asking.load_timeout_seconds
        ends = time.monotonic() + seconds
        code, said = self._run(command, seconds)
        if code == 0:
            settle(lambda: self.observe(target, None), ends)
            return
        if code is None:
            raise ReloadRetryableError(f"{command[0]}: took longer than {seconds:g} s and was killed{said}")
        if code == os.EX_TEMPFAIL:
            raise ReloadRetryableError(f"{command[0]}: exit code {code}, it may be tried again{said}")
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise ReloadRefusedError(f"{command[0]}: {how}{said}")

    def observe(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:
        """See `Reloader.observe`: the endpoints, if any."""
        return self._endpoints.observe(version, canaries)

    def obstacles(self) -> tuple[str, ...]:
        """See `Reloader.obstacles`: whether there is such a program."""
        return () if self._program() else (f"{self._settings.command[0]}: there is no such program that may be run",)

    def _program(self) -> str | None:
        return shutil.which(self._settings.command[0], path=self._environ.get("PATH", os.defpath))

    def _run(self, command: list[str], seconds: float) -> tuple[int | None, str]:
        """Exit code, None where it was killed, and the last lines of what it wrote to stderr."""
        program = self._program()
        if program is None:
            raise ReloadRefusedError(self.obstacles()[0])
        said, end = _Tail.pipe()
        try:
            process = subprocess.Popen(  # noqa: S603 - the command is the operator's, no shell reads it
                command,
                executable=program,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=end,
                env=self._environ,
                start_new_session=True,
            )
        except OSError as error:
            raise ReloadRefusedError(f"{command[0]}: cannot be run: {error.strerror or error}") from error
        finally:
            os.close(end)
        with process:
            ended = _ends(process.pid, seconds)
            with suppress(PermissionError):  # what it has left behind is somebody else's
                os.killpg(process.pid, signal.SIGKILL)  # not waited for yet: the number is still its own
            code = process.wait()
            return (code if ended else None), said.text()


def _ends(process: int, seconds: float) -> bool:
    """Whether it has ended in time."""
    handle = os.pidfd_open(process)
    try:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))
    finally:
        os.close(handle)


class _Tail:
    """The end of what comes out of a pipe, which is read to its end, whoever holds the other one by then."""

    def __init__(self, pipe: int) -> None:
        self._last = b""
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, name="tocsin-exec", daemon=True)
        self._thread.start()

    @staticmethod
    def pipe() -> tuple[_Tail, int]:
        """With the end to write to, which is the caller's to close."""
        pipe, end = os.pipe()
        return _Tail(pipe), end

    def text(self) -> str:
        """The last lines, for a message; "" for none."""
        self._thread.join(READ_SECONDS)
        lines = self._last.decode("utf-8", "replace").split("\n")
        last = [said for line in lines if (said := plain(line).strip())][-LAST_LINES:]
        return f": {' | '.join(last)}" if last else ""

    def _read(self) -> None:
        with open(self._pipe, "rb", buffering=0) as pipe:  # noqa: PTH123 - a descriptor
            while part := pipe.read(LAST_BYTES):
                self._last = (self._last + part)[-LAST_BYTES:]
