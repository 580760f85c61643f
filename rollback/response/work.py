"""What is being done for cases now, elsewhere: steps by the worker, retrainings by a trainer. A crash forgets it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from rollback.bundle import IntegrityError
from rollback.registry.registry import Buffer, RegistryError
from rollback.response.cases import Case
from rollback.response.charge import Charge
from rollback.response.steps import Result, perform
from rollback.response.worker import Worker
from rollback.train.trainer import Order

HANGS_SECONDS: Final = 7200.0
"""Longer than any step may take by its own limits."""
EVENTS: Final = {"passed": "ok", "rejected": "rejected", "vetting": "doubted", "failed": "retry"}
"""What a retraining's result means to its case."""


class Work:
    """Begins a case's step, and says what came of it. ``folder`` is where retrainings leave their results."""

    def __init__(self, charges: Mapping[str, Charge], worker: Worker, folder: Path, clock: Callable[[], float]) -> None:
        self._charges = charges
        self._worker = worker
        self._folder = folder
        self._clock = clock
        self._begun: dict[str, float] = {}
        self._buffers: dict[str, Buffer] = {}
        self._training: set[str] = set()

    def begin(self, case: Case) -> None:
        """Begin the step of the case's phase; returns at once."""
        charge = self._charges[case.model]
        self._begun[_job(case)] = self._clock()
        job = partial(self._locate, case, charge) if case.phase == "train" else partial(perform, case, charge.target)
        self._worker.submit(_job(case), job)

    def under_way(self, case: Case) -> bool:
        """Whether the step has begun, and its result was not taken yet."""
        return case.key in self._training or self._worker.busy(_job(case))

    def training(self, case: Case) -> bool:
        """Whether a training of the case goes on."""
        return case.key in self._training

    def result(self, case: Case) -> Result | None:
        """What came of the step; None while it is under way, and where it was not begun."""
        if case.phase != "train":
            return self._performed(case)
        if case.key in self._training:
            return self._trained(case)
        located = self._performed(case)
        if located is None or located.event != "ok":
            return located
        self._train(case)
        return None

    def close(self) -> None:
        """End what runs; a restart goes on with it."""
        for trainer in {id(c.trainer): c.trainer for c in self._charges.values()}.values():
            trainer.close()

    def _locate(self, case: Case, charge: Charge) -> Result:
        """Find the training buffer: its digest is checked, and it may be large."""
        try:
            buffer = charge.buffer(case.expected)
        except (RegistryError, IntegrityError, OSError) as error:
            return Result("refused", str(error))
        if buffer is None:
            why = f"no training buffer of version {case.expected} is known: give it with registry add --buffer"
            return Result("refused", why)
        self._buffers[case.key] = buffer
        return Result("ok")

    def _train(self, case: Case) -> None:
        buffer, out = self._buffers.pop(case.key), self._folder / results_of(case.key)
        self._training.add(case.key)
        order = Order(case.key, case.model, case.expected, buffer, case.message.encode(), out)
        self._charges[case.model].trainer.start(order)

    def _trained(self, case: Case) -> Result | None:
        made = self._charges[case.model].trainer.poll(case.key)
        if made is None:
            return None
        self._training.discard(case.key)
        return Result(EVENTS[made.result], made.detail, made.candidate)  # type: ignore[arg-type]  # all are events

    def _performed(self, case: Case) -> Result | None:
        job = _job(case)
        result = self._worker.poll(job)
        if result is None and self._worker.busy(job) and self._clock() - self._begun[job] > HANGS_SECONDS:
            result = Result("refused", f"the step {case.phase} has hung for {HANGS_SECONDS:.0f} s")
        if result is not None:
            self._begun.pop(job, None)
        return result


def results_of(key: str) -> str:
    """The name of the folder in which a retraining leaves its results."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _job(case: Case) -> str:
    """Each try of a step is a job of its own: what a hung one says in the end is about no later one."""
    return f"{case.key} {case.phase} {case.since} {case.attempt}"
