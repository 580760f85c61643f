"""Looks at how far retrainings are, in the folders in which they work, and keeps their metrics current."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from monitor.watching.response_metrics import ResponseMetrics
from rollback.response.cases import Case
from rollback.response.work import results_of
from rollback.retraining.out import OutFileError, read_json
from rollback.retraining.stages import FILE, Stages

log = structlog.get_logger()


class StageBoard:
    """``folder`` is where retrainings leave their results; ``clock`` gives seconds since the epoch, as they see them.

    Of several retrainings of a model the one that began last is shown; after a start the last one of before.
    """

    def __init__(self, metrics: ResponseMetrics, folder: Path, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._folder = folder
        self._clock = clock
        self._new = True
        self._shown: dict[str, Case] = {}
        self._unreadable: set[str] = set()

    def look(self, cases: Iterable[Case]) -> None:
        """Take in how far those of ``cases`` are that train now, and where those have ended that did before."""
        retrainings = sorted((case for case in cases if case.kind == "retraining"), key=lambda case: case.since)
        now = {case.model: case for case in retrainings if case.phase == "train"}
        if self._new:
            self._new = False
            for case in {case.model: case for case in retrainings}.values():
                self._show(case, case.since, over=True)
        for model in self._shown.keys() - now.keys():
            self._show(self._shown.pop(model), self._clock(), over=True)
        for model, case in now.items():
            self._shown[model] = case
            self._show(case, self._clock(), over=False)

    def _show(self, case: Case, at: float, *, over: bool) -> None:
        """As it stood ``at``, where nothing says when its last stage was over."""
        stages = self._read(case)
        under_way = None if over else stages.under_way
        self._metrics.stages(case.model, under_way, stages.seconds(at))

    def _read(self, case: Case) -> Stages:
        """Nothing yet, until the folder is there; what cannot be read is said once."""
        try:
            found = read_json(self._folder / results_of(case.key) / FILE, Stages)
        except OutFileError as error:
            if case.key not in self._unreadable:
                log.warning("the stages of a retraining are not shown", reason=str(error))
            self._unreadable.add(case.key)
            return Stages()
        return found or Stages()
