"""Jobs beside the loop: on a real scheduler, with triggers that say exactly when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from apscheduler.triggers.base import BaseTrigger
from prometheus_client import CollectorRegistry
from tiny_registry import NAME, make_registry

from monitor.inbox import Inbox, RegistryChecked, ServedOtherwise
from monitor.schedule import Job, MakeTrigger, Schedule, open_schedule
from monitor.settings.config import Config
from monitor.settings.config_sections import ModelConfig
from monitor.settings.response_sections import ServingConfig
from monitor.settings.schedule_section import ScheduleConfig
from monitor.watching.schedule_metrics import ScheduleMetrics
from rollback.reload.memory import Behaviour, MemoryReloader

PATIENCE = 30.0


class At(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """Fires once at each of these times (seconds from now), which may be past."""

    def __init__(self, *seconds: float) -> None:
        now = datetime.now(UTC)
        # the last one never comes: a job without a next time is removed, which may be while the scheduler shuts down
        self._times = [now + timedelta(seconds=each) for each in (*seconds, 86_400.0)]

    def get_next_fire_time(self, previous: datetime | None, _now: datetime) -> datetime | None:
        return next((each for each in self._times if previous is None or each > previous), None)


def at(**times: tuple[float, ...]) -> MakeTrigger:
    """A trigger for each job, by its name."""
    return lambda job, _: At(*times[job.name])


class Counting:
    """A job that counts its runs, and does ``then`` in each."""

    def __init__(self, then: Callable[[int], object] = lambda _: None) -> None:
        self._then = then
        self._changed = threading.Condition()
        self.runs = 0

    def __call__(self) -> None:
        with self._changed:
            self.runs += 1
            run = self.runs
            self._changed.notify_all()
        self._then(run)

    def wait(self, runs: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.runs >= runs, PATIENCE), f"{self.runs} runs, not {runs}"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ScheduleMetrics:
    return ScheduleMetrics(registry)


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    over = threading.Event()
    yield over
    over.set()


def until(registry: CollectorRegistry, name: str, labels: dict[str, str], value: float) -> None:
    """Wait for a figure: a run is counted after it has ended, on its own thread."""
    pause = threading.Event()
    for _ in range(round(PATIENCE / 0.01)):
        if registry.get_sample_value(name, labels) == value:
            return
        pause.wait(0.01)
    raise AssertionError(f"{name}{labels} is {registry.get_sample_value(name, labels)}, not {value}")


def runs(registry: CollectorRegistry, outcome: str, value: float, job: str = "a") -> None:
    until(registry, "tocsin_schedule_runs_total", {"task": job, "outcome": outcome}, value)


def test_a_run_is_counted_with_its_time(registry: CollectorRegistry, metrics: ScheduleMetrics) -> None:
    job = Counting()
    with Schedule([Job("a", 60, job)], Inbox(), metrics, lambda: 1234.0, at(a=(0.0, 0.05))):
        job.wait(2)
        runs(registry, "ok", 2)
    assert registry.get_sample_value("tocsin_schedule_last_success_timestamp_seconds", {"task": "a"}) == 1234.0


def test_of_several_runs_that_came_due_only_one_takes_place(
    registry: CollectorRegistry, metrics: ScheduleMetrics
) -> None:
    job, last = Counting(), Counting()
    jobs = [Job("a", 60, job), Job("b", 60, last)]
    with Schedule(jobs, Inbox(), metrics, lambda: 0.0, at(a=(-3, -2, -1), b=(0.1,))):
        last.wait(1)
        runs(registry, "ok", 1)
    assert job.runs == 1


def test_a_run_that_comes_due_while_the_one_before_goes_on_is_skipped_and_counted(
    registry: CollectorRegistry, metrics: ScheduleMetrics, hang: threading.Event
) -> None:
    job = Counting(lambda _: hang.wait(PATIENCE))
    with Schedule([Job("a", 60, job)], Inbox(), metrics, lambda: 0.0, at(a=(0.0, 0.05, 0.1))):
        runs(registry, "skipped", 2)
        assert job.runs == 1
        hang.set()
        runs(registry, "ok", 1)


def test_a_job_that_hangs_holds_up_neither_the_others_nor_the_end(
    registry: CollectorRegistry, metrics: ScheduleMetrics, hang: threading.Event
) -> None:
    hanging, other = Counting(lambda _: hang.wait(PATIENCE)), Counting()
    jobs = [Job("a", 60, hanging), Job("b", 60, other)]
    with Schedule(jobs, Inbox(), metrics, lambda: 0.0, at(a=(0.0,), b=(0.0, 0.05, 0.1))):
        hanging.wait(1)
        other.wait(3)
        runs(registry, "ok", 3, job="b")
    assert not hang.is_set()
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("tocsin-a"))


def test_a_job_that_raises_is_counted_and_runs_again(registry: CollectorRegistry, metrics: ScheduleMetrics) -> None:
    def fail_first(run: int) -> None:
        if run == 1:
            raise OSError("the disk is away")

    job = Counting(fail_first)
    with Schedule([Job("a", 60, job)], Inbox(), metrics, lambda: 0.0, at(a=(0.0, 0.05))):
        job.wait(2)
        runs(registry, "error", 1)
        runs(registry, "ok", 1)


def test_a_run_that_is_later_than_a_period_is_left_out_and_counted(
    registry: CollectorRegistry, metrics: ScheduleMetrics
) -> None:
    job = Counting()
    with Schedule([Job("a", 2, job)], Inbox(), metrics, lambda: 0.0, at(a=(-60.0,))):
        until(registry, "tocsin_schedule_misfires_total", {"task": "a"}, 1)
    assert job.runs == 0


def test_jobs_of_one_name_for_different_models_are_counted_together(
    registry: CollectorRegistry, metrics: ScheduleMetrics
) -> None:
    jobs = [Job("a", 60, Counting(), model) for model in ("nids", "mail")]
    with Schedule(jobs, Inbox(), metrics, lambda: 0.0, at(a=(0.0,))):
        runs(registry, "ok", 2)


def test_a_job_that_fails_for_one_model_is_not_hidden_by_its_success_for_another(
    registry: CollectorRegistry, metrics: ScheduleMetrics
) -> None:
    def fail(_: int) -> None:
        raise OSError("the registry is away")

    jobs = [Job("a", 60, Counting(), "mail"), Job("a", 60, Counting(fail), "nids")]
    with Schedule(jobs, Inbox(), metrics, lambda: 1234.0, at(a=(0.0,))):
        runs(registry, "ok", 1)
        runs(registry, "error", 1)
    assert registry.get_sample_value("tocsin_schedule_last_success_timestamp_seconds", {"task": "a"}) == 0.0
    metrics.ran("a", "ok", 1300.0, "nids")
    assert registry.get_sample_value("tocsin_schedule_last_success_timestamp_seconds", {"task": "a"}) == 1234.0


def test_a_period_of_zero_means_never(registry: CollectorRegistry, metrics: ScheduleMetrics) -> None:
    job = Counting()
    with Schedule([Job("a", 0, job)], Inbox(), metrics, lambda: 0.0):
        pass
    assert registry.get_sample_value("tocsin_schedule_misfires_total", {"task": "a"}) is None


def test_the_figures_of_a_job_are_there_before_its_first_run(
    registry: CollectorRegistry, metrics: ScheduleMetrics
) -> None:
    Schedule([Job("a", 60, Counting())], Inbox(), metrics, lambda: 0.0)
    for outcome in ("ok", "error", "skipped"):
        runs(registry, outcome, 0)


def test_the_configuration_decides_what_runs(
    registry: CollectorRegistry, metrics: ScheduleMetrics, tmp_path: Any
) -> None:
    """The default triggers: everything runs once soon after the start."""
    config = Config(
        models={NAME: ModelConfig(serving=ServingConfig(endpoints=["http://a"]))},
        schedule=ScheduleConfig(canary_probe_seconds=0.2, registry_verification_seconds=0.2, housekeeping_seconds=0),
    )
    models = make_registry()
    reloader = MemoryReloader({"http://a": Behaviour()}, serving="2")
    with open_schedule(config, {NAME: models}, {NAME: reloader}, metrics, tmp_path, lambda: 7.0) as schedule:
        runs(registry, "ok", 1, job="canary_probe")
        runs(registry, "ok", 1, job="registry_verification")
    found = schedule.inbox.drain()
    problem = "http://a: version '2' answers, not '1'; it answers 0% of the canaries as version '1' does"
    assert ServedOtherwise(NAME, "1", problem, 7.0) in found
    (checked,) = [each for each in found if isinstance(each, RegistryChecked)]
    assert (checked.at, checked.last_known_good, checked.failed, list(checked.versions)) == (7.0, "1", {}, ["1", "2"])
    assert registry.get_sample_value("tocsin_schedule_misfires_total", {"task": "housekeeping"}) is None


def test_an_inbox_is_emptied_by_draining_it_and_never_grows_without_end() -> None:
    inbox = Inbox(most=2)
    for at in (1.0, 2.0, 3.0):
        inbox.put(RegistryChecked(NAME, at))
    assert [found.at for found in inbox.drain()] == [2.0, 3.0]
    assert inbox.drain() == []
    assert inbox.dropped == 1


def test_a_changed_last_known_good_version_is_told_from_any_other() -> None:
    assert RegistryChecked(NAME, 0.0, "1", {"1": "changed"}).known_good_failed
    assert not RegistryChecked(NAME, 0.0, "1", {"2": "changed"}).known_good_failed
    assert not RegistryChecked(NAME, 0.0, None, {}, ("no pointer",)).known_good_failed
