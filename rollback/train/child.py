"""Retrains in a child process with limits: whatever becomes of it, the parent and the registry stay as they were."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rollback.durable import replace_file
from rollback.retraining.out import (
    CANDIDATE,
    GATE,
    Candidate,
    Gate,
    OutFileError,
    at_work,
    read_json,
    worker,
)
from rollback.train.trainer import Order, Retrained

LOG: Final = "retrain.log"
INCIDENT: Final = "incident.json"
THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LAST_LINES: Final = 5
LAST_BYTES: Final = 4096
ENDED: Final = frozenset({0, 1, 3})
"""Exit codes with which the command says what the gate said."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a retraining may use. ``memory_bytes`` is RLIMIT_DATA: heap and private mappings, not address space."""

    timeout_seconds: float = 4 * 3600.0
    memory_bytes: int = 16 * 2**30
    nice: int = 10
    threads: int = 1

    def __post_init__(self) -> None:
        if self.timeout_seconds <= 0 or self.memory_bytes <= 0 or self.threads < 1:
            raise ValueError(f"limits must be above 0, got {self}")
        if not 0 <= self.nice < 20:  # noqa: PLR2004 - what the system knows
            raise ValueError(f"nice lies between 0 and 19, got {self.nice}")


@dataclass(frozen=True, slots=True)
class _Running:
    """``process`` is None for one that an earlier parent has left behind."""

    order: Order
    process: subprocess.Popen[bytes] | None
    deadline: float


class ChildTrainer:
    """Runs ``command`` (such as ``python -m monitor``) with ``retrain`` and its options; see `Trainer`.

    ``options`` are added as they are (``--signing-key FILE``). ``clock`` gives seconds that never jump back;
    ``environ`` is the child's, to which the number of threads is added.
    """

    def __init__(
        self,
        command: Sequence[str],
        registry: Path,
        *,
        clock: Callable[[], float],
        environ: Mapping[str, str],
        limits: Limits | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self._command = tuple(command)
        self._registry = registry
        self._clock = clock
        self._limits = limits or Limits()
        self._environ = dict(environ) | dict.fromkeys(THREADS, str(self._limits.threads))
        self._options = tuple(options)
        self._running: dict[str, _Running] = {}
        self._results: dict[str, Retrained] = {}

    def start(self, order: Order) -> None:
        """See `Trainer.start`. A child that an earlier parent left behind at work is waited for."""
        if order.key in self._running:
            return
        self._results.pop(order.key, None)
        try:
            order.out.mkdir(parents=True, exist_ok=True)
            if not (order.out / INCIDENT).exists():  # ordered again, an incident may have gone on: the first one counts
                replace_file(order.out / INCIDENT, order.incident)
            process = None if at_work(order.out) else self._spawn(order)
        except OSError as error:
            self._results[order.key] = Retrained("failed", None, f"{order.out}: the retraining cannot start: {error}")
            return
        self._running[order.key] = _Running(order, process, self._clock() + self._limits.timeout_seconds)

    def poll(self, key: str) -> Retrained | None:
        """See `Trainer.poll`. Raises `KeyError` for an order that was never started."""
        if (running := self._running.get(key)) is None:
            return self._results[key]
        late = self._clock() >= running.deadline
        if running.process is None:
            return self._poll_left_behind(running, late=late)
        code = running.process.poll()
        late = late and code is None
        if code is None and not late:
            return None
        if late:
            _kill(running.process)
        del self._running[key]
        why = f"took longer than {self._limits.timeout_seconds:g} s and was ended" if late else _why(code or 0)
        self._results[key] = _result(running.order.out, None if late else code, why)
        return self._results[key]

    def close(self) -> None:
        """See `Trainer.close`. Killing does no harm: every file appears complete, the candidate at most once."""
        for key, running in self._running.items():
            if running.process is None:
                _kill_left_behind(running.order.out)
            else:
                _kill(running.process)
            self._results[key] = Retrained("failed", None, "the trainer was closed; order it again")
        self._running.clear()

    def _poll_left_behind(self, running: _Running, *, late: bool) -> Retrained | None:
        """Once it is gone, one of our own takes its place, which finds what it has finished."""
        key, out = running.order.key, running.order.out
        if not late and at_work(out):
            return None
        del self._running[key]
        if not late:
            self.start(running.order)
            return None
        _kill_left_behind(out)
        why = f"took longer than {self._limits.timeout_seconds:g} s and was ended"
        self._results[key] = _result(out, None, why)
        return self._results[key]

    def _spawn(self, order: Order) -> subprocess.Popen[bytes]:
        buffer = order.buffer
        named = {"--source": buffer.source, "--session": buffer.session}
        optional = [part for option, name in named.items() if name is not None for part in (option, name)]
        command = [*self._command, "retrain", "--registry", str(self._registry), "--name", order.model]
        command += ["--buffer", str(buffer.path), "--label", buffer.label, *optional]
        command += ["--incident", str(order.out / INCIDENT), "--out", str(order.out), *self._options]
        with (order.out / LOG).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - the command is the operator's, no shell reads it
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environ,
                start_new_session=True,
            )
        try:
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (self._limits.memory_bytes,) * 2)
            os.setpriority(os.PRIO_PROCESS, process.pid, self._limits.nice)
        except ProcessLookupError:
            return process  # it has ended already: its exit code tells
        except OSError:
            _kill(process)
            raise
        return process


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it has started, and wait for it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _kill_left_behind(out: Path) -> None:
    """End the process that works in the folder, if it is known which."""
    if (number := worker(out)) is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(number, signal.SIGKILL)


def _why(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = ": perhaps the system was out of memory" if -code == signal.SIGKILL else ""
        return f"was ended by {name}{hint}"
    return f"ended with exit code {code}"


def _result(out: Path, code: int | None, why: str) -> Retrained:
    """What files and exit code say together."""
    if code not in ENDED:
        return Retrained("failed", None, f"the retraining {why}{_last_lines(out)}")
    try:
        candidate, gate = read_json(out / CANDIDATE, Candidate), read_json(out / GATE, Gate)
    except OutFileError as error:
        return Retrained("failed", None, str(error))
    if candidate is None or gate is None or gate.exit_code != code:
        return Retrained("failed", None, f"the retraining {why} without a candidate{_last_lines(out)}")
    failed = [f"{check.name} {check.value:.4g} > {check.limit:.4g}" for check in gate.checks if not check.passed]
    detail = f"{len(gate.checks) - len(failed)} of {len(gate.checks)} checks passed"
    return Retrained(gate.result, candidate.version, "; ".join([detail, *failed]))


def _last_lines(out: Path) -> str:
    """The end of the log, for a message."""
    try:
        with (out / LOG).open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - LAST_BYTES, 0))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()[-LAST_LINES:]
    except OSError as error:
        return f" ({out / LOG} cannot be read: {error.strerror})"
    return f": {' | '.join(lines)}" if lines else f" ({out / LOG} is empty)"
