"""What is done from time to time, beside the loop: which jobs there are, when they run, and what became of each run.

Jobs run in threads of their own and touch nothing of the loop; what they find, they put in an inbox.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any, Final, Self

from apscheduler.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
)
from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from monitor.inbox import Inbox
from monitor.jobs.audit_checkpoint import AuditCheckpoint
from monitor.jobs.canary_probe import CanaryProbe
from monitor.jobs.housekeeping import Housekeeping
from monitor.jobs.hunt_results import HuntResults
from monitor.jobs.new_versions import NewVersions
from monitor.jobs.registry_verification import FirstSight, RegistryVerification
from monitor.jobs.trusted_keys import TrustedKeys
from monitor.new_version import Preparation
from monitor.outlets import Outlet
from monitor.settings.config import Config
from monitor.watching.schedule_metrics import Outcome, ScheduleMetrics
from rollback.audit.log import FILE_NAME
from rollback.registry.registry import Registry
from rollback.reload.reloader import Reloader

FIRST_SECONDS: Final = 1.0
OUTCOMES: Final[Mapping[int, Outcome]] = {
    EVENT_JOB_EXECUTED: "ok",
    EVENT_JOB_ERROR: "error",
    EVENT_JOB_MAX_INSTANCES: "skipped",
}


@dataclass(frozen=True, slots=True)
class Job:
    """``run`` every ``seconds``, for ``model`` where it is about one. ``name`` is what the metrics call it."""

    name: str
    seconds: float
    run: Callable[[], None]
    model: str = ""

    @property
    def key(self) -> str:
        """What no other job is called."""
        return f"{self.name} {self.model}".strip()


MakeTrigger = Callable[[Job, float], Any]
"""When a job runs (an APScheduler trigger), given which share of its period (0 to 1) it may wait at first."""


class Schedule:
    """Runs ``jobs`` from start to shutdown; a context manager. ``clock`` gives seconds since the epoch.

    A run that comes due while the one before still goes on is skipped; of several that came due at once, only one
    takes place; one that is late by more than a period is left out. Each is counted, and no failure ends anything.
    Nothing is kept: a new start begins anew.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        inbox: Inbox,
        metrics: ScheduleMetrics,
        clock: Callable[[], float],
        trigger: MakeTrigger | None = None,
    ) -> None:
        self.inbox = inbox
        self._metrics = metrics
        self._clock = clock
        self._jobs = {job.key: job for job in jobs if job.seconds > 0}
        self._scheduler = BackgroundScheduler(
            executors={"default": DaemonThreads()},
            job_defaults={"coalesce": True, "max_instances": 1},
            timezone=UTC,
        )
        self._scheduler.add_listener(self._told, EVENT_JOB_MISSED | sum(OUTCOMES))
        chosen = trigger or interval
        for i, job in enumerate(self._jobs.values()):
            metrics.known(job.name, job.seconds, job.model)
            self._scheduler.add_job(
                job.run,
                chosen(job, i / len(self._jobs)),
                id=job.key,
                name=job.key,
                misfire_grace_time=ceil(job.seconds),
            )

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def shutdown(self) -> None:
        """Begin no more runs. Those that go on end with the process, however long they would take."""
        self._scheduler.shutdown(wait=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def _told(self, event: Any) -> None:
        job = self._jobs[event.job_id]
        if event.code == EVENT_JOB_MISSED:
            self._metrics.misfired(job.name)
        else:
            self._metrics.ran(job.name, OUTCOMES[event.code], self._clock(), job.model)


class DaemonThreads(BaseExecutor):  # type: ignore[misc]  # APScheduler ships no types
    """A thread for each run, which never keeps the process from ending; as many as there are jobs, at most."""

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        thread = threading.Thread(target=self._run, args=(job, run_times), name=f"tocsin-{job.id}", daemon=True)
        thread.start()

    def _run(self, job: Any, run_times: list[datetime]) -> None:
        try:
            events = run_job(job, job._jobstore_alias, run_times, self._logger.name)  # noqa: SLF001 - as in every executor
        except BaseException as error:  # noqa: BLE001 - it is logged, and the job may run again
            self._run_job_error(job.id, error, error.__traceback__)
        else:
            self._run_job_success(job.id, events)


def interval(job: Job, share: float) -> Any:
    """Every period; the first runs of all jobs are spread, so that not all begin at once."""
    first = datetime.now(UTC) + timedelta(seconds=FIRST_SECONDS + share * min(job.seconds, 60.0))
    return IntervalTrigger(seconds=job.seconds, start_date=first, timezone=UTC)


def open_schedule(
    config: Config,
    registries: Mapping[str, Registry],
    reloaders: Mapping[str, Reloader],
    metrics: ScheduleMetrics,
    state_dir: Path,
    clock: Callable[[], float],
    preparations: Mapping[str, Preparation] | None = None,
    checkpoints: Outlet | None = None,
) -> Schedule:
    """The jobs that the configuration asks for, over the models of ``registries``; not yet started.

    ``preparations`` look into new versions, by model; ``checkpoints`` of the audit log go to the outlet.
    """
    inbox = Inbox()
    jobs = [*_jobs(config, registries, reloaders, metrics, state_dir, inbox, clock)]
    jobs += [
        Job("new_versions", config.schedule.new_versions_seconds, NewVersions(each, inbox), model)
        for model, each in (preparations or {}).items()
    ]
    if checkpoints is not None:
        sent = AuditCheckpoint(state_dir / FILE_NAME, checkpoints, clock)
        jobs.append(Job("audit_checkpoint", config.schedule.audit_checkpoint_seconds, sent))
    return Schedule(jobs, inbox, metrics, clock)


def _jobs(
    config: Config,
    registries: Mapping[str, Registry],
    reloaders: Mapping[str, Reloader],
    metrics: ScheduleMetrics,
    state_dir: Path,
    inbox: Inbox,
    clock: Callable[[], float],
) -> Iterator[Job]:
    chosen = config.schedule
    for model, registry in registries.items():
        if config.model(model).serving.observable and model in reloaders:
            probe = CanaryProbe(model, registry, reloaders[model], metrics, inbox, clock)
            yield Job("canary_probe", chosen.canary_probe_seconds, probe, model)
        verification = RegistryVerification(model, registry, metrics, inbox, clock)
        yield Job("registry_verification", chosen.registry_verification_seconds, verification, model)
        yield Job("first_sight", chosen.new_versions_seconds, FirstSight(registry, verification), model)
    yield Job("hunt_results", chosen.hunt_results_seconds, HuntResults(state_dir, inbox))
    yield Job("trusted_keys", chosen.trusted_keys_seconds, TrustedKeys(config, inbox, clock))
    housekeeping = Housekeeping(state_dir, chosen.keep_retrainings_days, metrics, clock)
    yield Job("housekeeping", chosen.housekeeping_seconds, housekeeping)
