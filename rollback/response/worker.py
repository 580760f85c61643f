"""Where steps are done: in threads of their own, so that the loop never waits, or at once, for tests and replays."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from rollback.response.steps import Result

Job = Callable[[], Result]


class Worker(Protocol):
    """Does one job per key at a time."""

    def submit(self, key: str, job: Job) -> None:
        """Begin; returns at once. Harmless where a job of that key runs."""

    def poll(self, key: str) -> Result | None:
        """What came of it, once; None while it runs and where there is none."""

    def busy(self, key: str) -> bool:
        """Whether a job of that key runs, or its result waits to be polled."""


class Inline:
    """Does every job where it is submitted."""

    def __init__(self) -> None:
        self._results: dict[str, Result] = {}

    def submit(self, key: str, job: Job) -> None:
        """See `Worker`."""
        if key not in self._results:
            self._results[key] = job()

    def poll(self, key: str) -> Result | None:
        """See `Worker`."""
        return self._results.pop(key, None)

    def busy(self, key: str) -> bool:
        """See `Worker`."""
        return key in self._results


class Threads:
    """A thread per job. A job that hangs holds up its own case, and nothing else."""

    def __init__(self) -> None:
        self._running: set[str] = set()
        self._results: dict[str, Result] = {}
        self._lock = threading.Lock()

    def submit(self, key: str, job: Job) -> None:
        """See `Worker`."""
        with self._lock:
            if key in self._running or key in self._results:
                return
            self._running.add(key)
        threading.Thread(target=self._run, args=(key, job), name=f"tocsin-{key}", daemon=True).start()

    def poll(self, key: str) -> Result | None:
        """See `Worker`."""
        with self._lock:
            return self._results.pop(key, None)

    def busy(self, key: str) -> bool:
        """See `Worker`."""
        with self._lock:
            return key in self._running or key in self._results

    def _run(self, key: str, job: Job) -> None:
        try:
            result = job()
        except Exception as error:  # noqa: BLE001 - whatever it is, the case hears of it and is halted
            result = Result("refused", f"{type(error).__name__}: {error}")
        with self._lock:
            self._running.discard(key)
            self._results[key] = result
