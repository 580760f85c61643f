"""Retrains in a thread of this process: for those who want one process, and give up the limit on memory for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from rollback.sanitise.rows import Progress
from rollback.train.child import UNTOUCHED, Limits, begin, result_of
from rollback.train.deadline import over
from rollback.train.trainer import Order, Retrained

Retrain = Callable[[Order, Progress], object]
"""Does an order here and now; what comes of it is in the order's folder."""
PATIENCE_SECONDS: Final = 5.0
"""Closing waits so long for a thread to notice."""


class StoppedError(Exception):
    """The retraining is not wanted any more: its time is up, or the trainer was closed."""


@dataclass(slots=True)
class _Job:
    """``stop`` asks the thread to end, which it does where it next says how far it is; ``result`` is its last act."""

    order: Order
    deadline: float
    stop: threading.Event = field(default_factory=threading.Event)
    result: Retrained | None = None
    thread: threading.Thread | None = None


class ThreadTrainer:
    """Does orders with ``retrain``, one at a time, with little claim on the processor; see `Trainer`.

    A thread cannot be killed: one whose time is up ends at its next step (an epoch, a screen), and until then no other
    order begins. What it uses of memory it takes from the whole process: of ``limits`` time and niceness count, the
    others do not. ``clock`` and ``now`` are as in `rollback.train.child.ChildTrainer`.
    """

    def __init__(
        self, retrain: Retrain, *, clock: Callable[[], float], now: Callable[[], float], limits: Limits | None = None
    ) -> None:
        self._retrain = retrain
        self._clock = clock
        self._now = now
        self._limits = limits or Limits()
        self._jobs: dict[str, _Job] = {}
        self._turn = threading.Lock()  # seeds and threads of torch are those of the process
        self._ending = threading.Lock()

    def start(self, order: Order) -> None:
        """See `Trainer.start`."""
        known = self._jobs.get(order.key)
        if known is not None and known.result is None:
            return
        try:
            left = begin(order, self._limits.timeout_seconds, self._now)
        except OSError as error:
            why = f"{order.out}: the retraining cannot start: {error}; {UNTOUCHED}"
            self._jobs[order.key] = _Job(order, 0.0, result=Retrained("failed", None, why))
            return
        job = self._jobs[order.key] = _Job(order, self._clock() + left)
        job.thread = threading.Thread(target=self._run, args=(job,), name=f"tocsin-{order.key}", daemon=True)
        job.thread.start()

    def poll(self, key: str) -> Retrained | None:
        """See `Trainer.poll`. Raises `KeyError` for an order that was never started."""
        job = self._jobs[key]
        if job.result is None and self._clock() >= job.deadline:
            seconds = self._limits.timeout_seconds
            why = f"the retraining took longer than {seconds:g} s (restarts included); {UNTOUCHED}"
            self._end(job, Retrained("failed", None, why))
        return job.result

    def close(self) -> None:
        """See `Trainer.close`."""
        running = [job for job in self._jobs.values() if job.result is None]
        for job in running:
            job.stop.set()
        for job in running:
            if job.thread is not None:
                job.thread.join(PATIENCE_SECONDS)
            with self._ending:
                job.result = job.result or Retrained("failed", None, "the trainer was closed; order it again")

    def _run(self, job: _Job) -> None:
        def progress(what: str, share: float) -> None:
            del what, share
            if job.stop.is_set():
                raise StoppedError

        with suppress(OSError):  # a sandbox may forbid it: then it is as nice as the daemon
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._limits.nice)
        with suppress(StoppedError), self._turn:
            self._end(job, self._do(job.order, progress))

    def _end(self, job: _Job, result: Retrained) -> None:
        """The first result holds: that of a thread which was stopped comes too late."""
        with self._ending:
            if job.result is None:
                over(job.order.out)
                job.result = result
        job.stop.set()

    def _do(self, order: Order, progress: Progress) -> Retrained:
        try:
            progress("beginning", 0.0)
            self._retrain(order, progress)
        except StoppedError:
            raise
        except MemoryError as error:
            return Retrained("failed", None, f"the retraining ran out of memory: {error}; {UNTOUCHED}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the case hears of it, and the daemon goes on
            return Retrained("failed", None, f"the retraining failed: {type(error).__name__}: {error}; {UNTOUCHED}")
        return result_of(order.out) or Retrained("failed", None, f"the retraining left no candidate; {UNTOUCHED}")
