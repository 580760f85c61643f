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
    VETTING,
    Candidate,
    Gate,
    OutFileError,
    at_work,
    read_json,
    worker,
)
from rollback.train.deadline import over, seconds_left
from rollback.train.death import cause, last_lines
from rollback.train.trainer import Order, Retrained

LOG: Final = "retrain.log"
INCIDENT: Final = "incident.json"
THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
UNTOUCHED: Final = "what serves was not touched"
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
    """``process`` is None for one that an earlier parent has left behind; its log begins at byte ``log_start``."""

    order: Order
    process: subprocess.Popen[bytes] | None
    deadline: float
    log_start: int


class ChildTrainer:
    """Runs ``command`` (such as ``python -m monitor``) with ``retrain`` and its options; see `Trainer`.

    ``options`` are added as they are (``--signing-key FILE``). ``clock`` gives seconds that never jump back, ``now``
    those since the epoch: the time limit counts from an order's first start, across restarts. ``environ`` is the
    child's, to which the number of threads is added.
    """

    def __init__(
        self,
        command: Sequence[str],
        registry: Path,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
        environ: Mapping[str, str],
        limits: Limits | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self._command = tuple(command)
        self._registry = registry
        self._clock = clock
        self._now = now
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
            deadline = self._clock() + begin(order, self._limits.timeout_seconds, self._now)
            start = _size(order.out / LOG)
            process = None if at_work(order.out) or self._clock() >= deadline else self._spawn(order)
        except OSError as error:
            why = f"{order.out}: the retraining cannot start: {error}; {UNTOUCHED}"
            self._results[order.key] = Retrained("failed", None, why)
            return
        self._running[order.key] = _Running(order, process, deadline, start)

    def poll(self, key: str) -> Retrained | None:
        """See `Trainer.poll`. Raises `KeyError` for an order that was never started."""
        if (running := self._running.get(key)) is None:
            return self._results[key]
        late = self._clock() >= running.deadline
        if running.process is None:
            return self._poll_left_behind(running, late=late)
        code = _ended(running.process)
        late = late and code is None
        if code is None and not late:
            return None
        if late:
            _kill(running.process)
        return self._over(running, None if late else code)

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
        if not late:
            del self._running[key]
            self.start(running.order)
            return None
        _kill_left_behind(out)
        return self._over(running, None)

    def _over(self, running: _Running, code: int | None) -> Retrained:
        """Keep what came of it; without an exit ``code`` its time was up."""
        key, log = running.order.key, running.order.out / LOG
        why = f"took longer than {self._limits.timeout_seconds:g} s (restarts included) and was ended"
        if code is not None:
            why = cause(code, log, running.log_start, self._limits.memory_bytes)
        over(running.order.out)
        del self._running[key]
        self._results[key] = _result(running.order.out, code, why, last_lines(log, running.log_start))
        return self._results[key]

    def _spawn(self, order: Order) -> subprocess.Popen[bytes]:
        buffer = order.buffer
        named = {"--label": buffer.label, "--source": buffer.source, "--session": buffer.session}
        if buffer.path.is_dir():  # a training store has columns of its own
            named = {}
        columns = [part for option, name in named.items() if name is not None for part in (option, name)]
        command = [*self._command, "retrain", "--registry", str(self._registry), "--name", order.model]
        command += ["--buffer", str(buffer.path), *columns]
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


def begin(order: Order, timeout_seconds: float, now: Callable[[], float]) -> float:
    """Make the order's folder with its incident; the seconds that are left to it. Raises `OSError`."""
    order.out.mkdir(parents=True, exist_ok=True)
    if not (order.out / INCIDENT).exists():  # ordered again, an incident may have gone on: the first one counts
        replace_file(order.out / INCIDENT, order.incident)
    return seconds_left(order.out, timeout_seconds, now)


def result_of(out: Path, code: int | None = None) -> Retrained | None:
    """What the files of a retraining say that is over, and has ended with ``code`` if it is known; None without any."""
    try:
        candidate, gate = read_json(out / CANDIDATE, Candidate), read_json(out / GATE, Gate)
    except OutFileError as error:
        return Retrained("failed", None, f"{error}; {UNTOUCHED}")
    if candidate is None or gate is None or code not in {None, gate.exit_code}:
        return None
    failed = [f"{check.name} {check.value:.4g} > {check.limit:.4g}" for check in gate.checks if not check.passed]
    detail = f"{len(gate.checks) - len(failed)} of {len(gate.checks)} checks passed"
    if candidate.decisions is not None:  # so that the daemon's audit log names them
        detail += f"; by decisions of SHA-256 {candidate.decisions}, review log at {candidate.reviews}"
    if gate.result == "vetting":
        detail += f"; rows wait for a person (tocsin review list; {out / VETTING}), then tocsin response again"
    return Retrained(gate.result, candidate.version, "; ".join([detail, *failed]))


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code of a child that has ended, after whatever it had started was ended too; None while it runs.

    Its number stays taken, and so that of its group, until it is waited for.
    """
    if process.returncode is not None:
        return process.returncode
    try:
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
    except ChildProcessError:  # somebody else has waited for it: its number may be another's by now
        return process.poll()
    _kill(process)
    return process.returncode


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it has started, and wait for it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _kill_left_behind(out: Path) -> None:
    """End the process that works in the folder with whatever it has started, if it is known which."""
    if (number := worker(out)) is not None:
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(number) == number:  # a group of its own, as `_spawn` gives it
                os.killpg(number, signal.SIGKILL)
            else:
                os.kill(number, signal.SIGKILL)


def _result(out: Path, code: int | None, why: str, said: str) -> Retrained:
    """What files and exit code say together; ``said`` is the end of the log."""
    if code not in ENDED:
        return Retrained("failed", None, f"the retraining {why}; {UNTOUCHED}{said}")
    return result_of(out, code) or Retrained(
        "failed", None, f"the retraining {why} without a candidate; {UNTOUCHED}{said}"
    )
