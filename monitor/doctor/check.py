"""A check and its results, and how checks are run: side by side, each for so long, none hiding another."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Result:
    """One line: what was looked at (``subject``), how it stands, and what to do where it does not stand well."""

    subject: str
    status: Status
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """``look`` yields results as it goes, and may take ``seconds``; whatever it raises becomes a problem."""

    subject: str
    look: Callable[[], Iterable[Result]]
    seconds: float = 30.0


def ok(subject: str, message: str) -> Result:
    """All is well."""
    return Result(subject, "ok", message)


def warning(subject: str, message: str, advice: str) -> Result:
    """It works, and something better is to be had."""
    return Result(subject, "warning", message, advice)


def problem(subject: str, message: str, advice: str) -> Result:
    """It does not work."""
    return Result(subject, "problem", message, advice)


def run_checks(checks: Sequence[Check]) -> list[Result]:
    """The results of all checks, in the order of the checks.

    >>> def fail():
    ...     yield ok("disk", "there is one")
    ...     raise OSError("it is on fire")
    >>> [result.message for result in run_checks([Check("disk", fail)])]
    ['there is one', 'OSError: it is on fire']
    """
    running = [_Running(check) for check in checks]
    return [result for each in running for result in each.results()]


class _Running:
    """One check in its thread, which is left alone when the time is over."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._queue: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        self._ends = time.monotonic() + check.seconds
        threading.Thread(target=self._run, name=f"doctor-{check.subject}", daemon=True).start()

    def results(self) -> list[Result]:
        """What it found until the end of its time, with a problem where it had not come to an end."""
        found: list[Result] = []
        while True:
            try:
                result = self._queue.get(timeout=max(0.0, self._ends - time.monotonic()))
            except queue.Empty:
                late = f"no answer within {self._check.seconds:g} s"
                return [*found, problem(self._check.subject, late, "find out what hangs: a disk, a network, a server")]
            if result is None:
                return found
            found.append(result)

    def _run(self) -> None:
        try:
            for result in self._check.look():
                self._queue.put(result)
        except Exception as error:  # noqa: BLE001 - it becomes a result; the other checks go on
            said = f"{type(error).__name__}: {error}"
            self._queue.put(problem(self._check.subject, said, "mend what it names, then ask again"))
        self._queue.put(None)
