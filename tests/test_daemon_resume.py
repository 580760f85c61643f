"""The loop's ways back: commits that fail, partitions that come and go, and a world that changed while it was away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from scenario import NAME, World

from detectors.evidence import Detector, Evidence, State
from monitor.assemble import Surroundings, assemble
from monitor.demo.supply import GeneratedTraffic
from monitor.loop import Loop, LoopSettings, Parts
from monitor.oracle import Elsewhere
from monitor.panel import Panel, compare_versions
from monitor.response import NoResponse
from monitor.settings.config import Config, ModelConfig
from monitor.sources.memory import MemoryLog, MemorySource
from monitor.sources.source import Committed, Listener, Partition, RetryableSourceError
from monitor.state.checkpoint import CheckpointError, CheckpointStore
from monitor.state.settlement import Checkpoints
from monitor.supervise import Supervision, supervise
from monitor.watching.health import Health
from monitor.watching.metrics import Metrics
from monitor.window import WindowBuilder, WindowSettings
from rollback.registry.file import FileRegistry
from rollback.registry.registry import Pointers, Registry
from rollback.signing.keys import Keys

EVENTS = Partition("events", 0)


class CrashError(Exception):
    """The process is gone."""


class Broker(MemorySource):
    """A source whose commits can be made to fail: with an error of ``failures`` each, as long as there are any."""

    def __init__(self, log: MemoryLog, listener: Listener, failures: list[Exception]) -> None:
        super().__init__(log, listener, ends=True)
        self._failures = failures

    def commit(self, offsets: Mapping[Partition, int], metadata: str) -> None:
        if self._failures:
            raise self._failures.pop(0)
        super().commit(offsets, metadata)


class Life:
    """One process over a log and a folder; `closed` as a crash would."""

    def __init__(
        self, log: MemoryLog, folder: Path, registries: Mapping[str, Registry], models: Mapping[str, ModelConfig]
    ) -> None:
        self.folder = folder
        self.failures: list[Exception] = []
        self.metrics = CollectorRegistry()
        self.store = CheckpointStore(folder / "checkpoints")
        metrics = Metrics(self.metrics, "test", lambda: 0.0)
        around = Surroundings(registries, folder, self.store, metrics, NoResponse(), b"k" * 32, seed=1)
        self.parts = assemble(Config(models=dict(models)), around)
        self.source: Broker

        def connect(listener: Listener) -> Broker:
            self.source = Broker(log, listener, self.failures)
            return self.source

        parts = self.parts
        kept = parts.kept()
        saved = Checkpoints(self.store, kept, parts.outputs, metrics.checkpointed)
        made = Parts(connect, parts.intake, parts.watches, parts.teller, saved, Elsewhere(), lambda: 0.0)
        self.loop = Loop(made, LoopSettings(max_messages=100, poll_seconds=0.0, settle_seconds=0.0))
        self.supervision = Health(lambda: 0.0), metrics

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.loop.turn()

    def windows(self) -> list[dict[str, Any]]:
        for output in self.parts.outputs.values():
            output.flush()
        return [json.loads(line) for line in (self.folder / "windows.ndjson").read_bytes().splitlines()]

    def held(self) -> list[int]:
        return [o for w in self.windows() for r in w["offsets"] for o in range(r["first"], r["last"] + 1)]


Start = Callable[..., Any]


@pytest.fixture(scope="module")
def events(world: World) -> list[bytes]:
    mine = World(world.root, world.registry, GeneratedTraffic(19), np.random.default_rng(19))
    return mine.served("1", mine.draw(1000))


@pytest.fixture
def log(events: list[bytes]) -> MemoryLog:
    made = MemoryLog({"events": "inference"})
    made.extend("events", events)
    return made


@pytest.fixture
def start(world: World, log: MemoryLog, tmp_path: Path) -> Start:
    @contextmanager
    def begin(models: Mapping[str, ModelConfig] | None = None, registry: Registry = world.registry) -> Iterator[Life]:
        chosen = models or {NAME: ModelConfig(window_events=100, window_max_seconds=1e9)}
        life = Life(log, tmp_path, dict.fromkeys(chosen, registry), chosen)
        try:
            yield life
        finally:
            life.store.close()
            for output in life.parts.outputs.values():
                output.close()

    return begin


def test_where_reading_starts_is_committed_before_anything_is_read(start: Start, log: MemoryLog) -> None:
    with start() as life:
        life.source.abort_after(0, CrashError())
        with pytest.raises(CrashError):
            life.loop.turn()
        assert log.committed == {EVENTS: Committed(0, life.store.names()[0])}


def test_a_first_commit_that_fails_is_made_again_and_nothing_is_lost(start: Start, log: MemoryLog) -> None:
    with start() as life:
        life.failures[:] = [RetryableSourceError("away")] * 2
        for _ in range(2):
            with pytest.raises(RetryableSourceError):
                life.loop.turn()
        assert life.windows() == []
        life.turns(10)
        assert life.held() == list(range(1000))
        assert len(life.store.names()) == 2


def test_crashes_between_checkpoint_and_commit_one_after_the_other_never_start_cold(
    start: Start, log: MemoryLog
) -> None:
    for _ in range(3):
        with start() as life:
            life.turns(1)
            life.failures.append(CrashError())
            with pytest.raises(CrashError):
                life.turns(1)
    with start() as life:
        # crashed while committing where it starts, too
        life.failures.append(CrashError())
        with pytest.raises(CrashError):
            life.turns(1)
    with start() as life:
        life.turns(10)
        assert life.held() == list(range(1000))
        assert life.parts.intake.events == 1000


def test_while_commits_fail_the_checkpoint_that_the_broker_names_is_kept(start: Start, log: MemoryLog) -> None:
    with start() as life:
        life.turns(2)
        named = log.committed[EVENTS].metadata
        life.failures[:] = [RetryableSourceError("away")] * 5
        for _ in range(5):
            with pytest.raises(RetryableSourceError):
                life.loop.turn()
        assert named in life.store.names()
        assert len(life.held()) > 500
    with start() as life:
        life.turns(10)
        assert life.held() == list(range(1000))


class Interrupted:
    """A registry that is gone once it is told so."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.gone = False

    def pointers(self) -> Pointers:
        if self.gone:
            raise CrashError
        return self._registry.pointers()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)


class Going:
    """Neither told to stop nor disturbed."""

    wanted = False

    def wait(self, seconds: float) -> None:
        """Nothing is waited for."""

    def check(self, partitions: object) -> None:
        """Nobody else is there."""


def test_after_an_error_within_a_turn_nothing_is_settled_so_that_nothing_is_lost(
    start: Start, world: World, log: MemoryLog
) -> None:
    registry = Interrupted(world.registry)
    with start(registry=registry) as life:
        life.turns(3)
        registry.gone = True
        with pytest.raises(CrashError):
            supervise(life.loop, life.source, Going(), Supervision(Going(), *life.supervision, lambda: None))
        assert log.committed[EVENTS].offset == 300
    with start() as life:
        life.turns(10)
        assert life.held() == list(range(1000))


def test_partitions_that_were_lost_for_a_moment_go_on_where_they_were(start: Start, log: MemoryLog) -> None:
    with start() as life:
        life.turns(2)
        life.failures[:] = [RetryableSourceError("no member")] * 2
        for _ in range(2):
            with pytest.raises(RetryableSourceError):
                life.loop.turn()
        life.source.lose([EVENTS])
        life.turns(10)
        assert life.held() == list(range(1000))
        assert life.metrics.get_sample_value("tocsin_duplicates_total", {"model": NAME}) == 0
        assert log.committed[EVENTS].offset == 1000


def test_a_partition_that_somebody_else_read_meanwhile_starts_where_they_left_it(start: Start, log: MemoryLog) -> None:
    with start() as life:
        life.turns(2)
        life.source.lose([EVENTS])
        log.committed[EVENTS] = Committed(700, "of somebody else")
        life.turns(10)
        assert life.held() == [*range(200), *range(700, 1000)]


def test_of_partitions_that_went_nothing_is_committed_any_more(start: Start, log: MemoryLog) -> None:
    other = Partition("events", 1)
    log.append("events", b"garbage", 1)
    with start() as life:
        life.turns(2)
        life.failures.append(RetryableSourceError("no member any more"))
        with pytest.raises(RetryableSourceError):
            life.loop.turn()
        life.loop.on_lost([EVENTS, other])
        log.committed[other] = Committed(9, "of somebody else")
        starts = life.loop.on_assigned({EVENTS: log.committed[EVENTS]})
        life.loop.on_positioned(starts)
        assert starts == {EVENTS: life.parts.intake.positions[EVENTS]}
        assert log.committed[other] == Committed(9, "of somebody else")
        assert life.loop.partitions == {EVENTS}
        life.loop.on_revoked([EVENTS])
        assert life.loop.partitions == frozenset()


def test_a_smaller_window_closes_one_that_is_fuller_than_it(start: Start) -> None:
    big = {NAME: ModelConfig(window_events=400, window_max_seconds=1e9)}
    with start(big) as life:
        life.turns(7)
        assert len(life.held()) == 400
    with start() as life:
        life.turns(10)
        assert life.held() == list(range(1000))
        assert [w["events"] for w in life.windows()] == [400, 300, 100, 100, 100]


def test_a_model_that_is_no_longer_configured_is_forgotten_and_a_new_one_begins(
    start: Start, world: World, log: MemoryLog, events: list[bytes]
) -> None:
    with start() as life:
        life.turns(2)
        assert life.held() == list(range(200))
    with start({"mail": ModelConfig(window_events=100, window_max_seconds=1e9)}) as life:
        log.extend("events", [e.replace(f'"{NAME}"'.encode(), b'"mail"') for e in events[:100]])
        life.turns(12)
        assert [(w["model"], w["events"]) for w in life.windows()] == [(NAME, 100), (NAME, 100), ("mail", 100)]
        assert life.parts.quarantine.by_reason == {"unknown_model": 800}


def test_another_last_known_good_version_starts_the_detectors_anew(
    start: Start, world: World, tmp_path: Path, log: MemoryLog
) -> None:
    shutil.copytree(world.root / "registry", tmp_path / "registry", symlinks=True)
    registry = FileRegistry(tmp_path / "registry", NAME, Keys.trial(tmp_path / "registry"), lambda: 0.0)
    with start(registry=registry) as life:
        life.turns(3)
    registry.promote("2", expected="1", known_good=True, by="test", reason="vetted")
    with start(registry=registry) as life:
        life.turns(10)
        assert life.held() == list(range(1000))
        assert [w["registry"]["last_known_good"] for w in life.windows()] == ["1"] * 3 + ["2"] * 7


def test_a_checkpoint_of_another_format_is_refused_with_what_to_do(start: Start, log: MemoryLog) -> None:
    with start() as life:
        life.turns(1)
        name = life.store.save({"format": 0})
        log.committed[EVENTS] = Committed(100, name)
    with start() as life, pytest.raises(CheckpointError, match="another version of Tocsin"):
        life.turns(1)


class _Particular(Detector):
    """Takes back no state but its own."""

    name = "particular"

    def fit(self, _reference: object) -> None:
        self.seen = 0

    def observe(self, _window: object, _labels: object) -> Evidence:
        self.seen += 1
        return Evidence(self.name, "ok", score=float(self.seen))

    def state(self) -> State:
        return {"seen": self.seen}

    def restore(self, state: State) -> None:
        self.seen = -1
        self.seen = state["seen"]


def test_a_detector_that_cannot_take_its_state_back_starts_anew(world: World) -> None:
    good = world.registry.load("1")
    panel = Panel(compare_versions(good, good), [_Particular()])
    panel.restore({"detectors": {"particular": {"other": 1}}, "broken": {}})
    closed = WindowBuilder(WindowSettings()).without_events(NAME, "1")
    (evidence,) = panel.observe(panel.window(0, closed.batch, np.zeros(0, dtype=np.bool_)), None)
    assert (evidence.status, evidence.score) == ("ok", 1.0)
