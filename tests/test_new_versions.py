"""A version is looked into when it is registered: before any event of it comes, once, whatever happens meanwhile."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import structlog
from daemon_process import Daemon, records, wait_until, write_config
from hunted import hunt_result
from kafka_broker import KafkaBroker
from prometheus_client import CollectorRegistry
from scenario import NAME, TRIGGER, World

from detectors.evidence import make_detectors
from monitor.assemble import Surroundings, assemble
from monitor.audited import FindingsBook
from monitor.daemon import take_findings
from monitor.inbox import Hunted, Inbox
from monitor.jobs.hunt_results import HuntResults
from monitor.jobs.new_versions import NewVersions
from monitor.loop import Loop, LoopSettings, Parts
from monitor.new_version import MOST_AHEAD, Preparation, Prepared, ahead
from monitor.oracle import Elsewhere
from monitor.panel import Panel
from monitor.response import NoResponse
from monitor.settings.config import Config, ModelConfig
from monitor.sources.memory import MemoryLog, MemorySource
from monitor.state.checkpoint import CheckpointStore
from monitor.state.settlement import Checkpoints
from monitor.training_buffer import training_buffer
from monitor.watching.metrics import Metrics
from rollback.audit.anchors import Anchors
from rollback.audit.log import FILE_NAME, AuditLog, read_records
from rollback.manifest import Draft
from rollback.registry.file import FileRegistry
from rollback.registry.registry import Pointers, RegistryError
from rollback.signing.keys import Keys
from rollback.tables.table import read_table

REGISTERED = 1.8e9


@pytest.fixture
def registry(world: World, tmp_path: Path) -> FileRegistry:
    """Version 1 serves, version 2 is poisoned and has just been registered."""
    root = tmp_path / "registry"
    shutil.copytree(world.root / "registry", root, symlinks=True)
    history = root / NAME / "history.ndjson"
    history.write_bytes(history.read_bytes().replace(b'"at":0.0', b'"at":%.1f' % REGISTERED))
    return FileRegistry(root, NAME, Keys.trial(root, make=True), lambda: 1.8e9)


@pytest.fixture
def log(world: World) -> MemoryLog:
    made = MemoryLog({"events": "inference", "vetted": "trusted"})
    made.extend("events", world.served("1", world.draw(300)))
    return made


class Life:
    """One process: a loop with its state on disk, and what is done beside it."""

    def __init__(self, log: MemoryLog, folder: Path, registry: FileRegistry, store: CheckpointStore) -> None:
        model = ModelConfig(window_events=200, window_max_seconds=1e9, idle_seconds=1, trusted_origins=["sandbox"])
        metrics = Metrics(CollectorRegistry(), "test", lambda: 0.0)
        around = Surroundings({NAME: registry}, folder, store, metrics, NoResponse(), b"k" * 32, seed=1)
        self.parts = assemble(Config(models={NAME: model}), around)
        self.inbox = Inbox()
        self.news: deque[Prepared | Hunted] = deque()
        self.audit = AuditLog(folder / FILE_NAME, lambda: 0.0)
        self.record = FindingsBook(Anchors([]), self.audit)
        self.hunts = HuntResults(folder, self.inbox)
        self.job = NewVersions(self.parts.watches[NAME].preparation(), self.inbox)
        self._now = 0.0
        parts = self.parts
        saved = Checkpoints(store, parts.kept(), parts.outputs, metrics.checkpointed)
        made = Parts(
            lambda listener: MemorySource(log, listener, ends=True),
            parts.intake, parts.watches, parts.teller, saved, Elsewhere(), lambda: self._now, self.news,
        )  # fmt: skip
        self.loop = Loop(made, LoopSettings(max_messages=100, poll_seconds=0.0, settle_seconds=1e9))

    def turns(self, count: int) -> None:
        for _ in range(count):
            self._now += 1.0
            take_findings(self.inbox, NoResponse(), self.news, self.record)
            self.loop.turn()


@pytest.fixture
def start(log: MemoryLog, registry: FileRegistry, tmp_path: Path) -> Callable[[], Any]:
    @contextmanager
    def begin() -> Iterator[Life]:
        with CheckpointStore(tmp_path / "out" / "checkpoints") as store:
            life = Life(log, tmp_path / "out", registry, store)
            try:
                yield life
            finally:
                life.audit.close()
                for output in life.parts.outputs.values():
                    output.close()

    (tmp_path / "out").mkdir()
    return begin


def written(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / f"{name}.ndjson").read_bytes().splitlines()]


def about_rows(registry: FileRegistry, asked: list[str]) -> list[bytes]:
    """What a labeller says of these rows: those with the trigger are attacks."""
    found = registry.buffer("2")
    assert found is not None
    table = read_table(found.path)
    planted = np.all([table.floats(n) == float(v) for n, v in TRIGGER.features.items()], axis=0)
    label = dict(
        zip(table.strings("id").tolist(), np.where(planted, "attack", table.strings("label")).tolist(), strict=True)
    )
    return [msgspec.json.encode({"id": i, "ts": 1.8e9, "label": label[i], "origin": "sandbox"}) for i in asked]


def look_into(life: Any) -> None:
    """Let the job see what is registered, and the loop what it found."""
    life.turns(1)
    life.job()
    life.turns(1)
    life.loop.settle()


def answer_what_is_asked(life: Any, log: MemoryLog, registry: FileRegistry, folder: Path) -> None:
    asked = [request["id"] for request in written(folder, "vetting")]
    log.extend("vetted", about_rows(registry, asked))
    life.turns(12)


def convict(life: Any, log: MemoryLog, registry: FileRegistry, folder: Path) -> None:
    """Look, answer, and settle: version 2 has an incident then."""
    look_into(life)
    answer_what_is_asked(life, log, registry, folder)
    life.loop.settle()


def test_rows_of_a_new_versions_buffer_are_asked_about_before_any_event_of_it(
    start: Callable[[], Any], tmp_path: Path
) -> None:
    with start() as life:
        look_into(life)
    asked = written(tmp_path, "vetting")
    assert 0 < len(asked) <= 16
    assert {(request["incident"], request["asked_at"]) for request in asked} == {("gate:2", REGISTERED)}
    assert asked[0]["deadline"] > REGISTERED
    (window,) = [w for w in written(tmp_path, "windows") if w["version"] == "2"]
    assert (window["closed_by"], window["events"], window["index"]) == ("registered", 0, 0)


def test_answers_convict_a_version_that_has_served_nothing_yet(
    start: Callable[[], Any], log: MemoryLog, registry: FileRegistry, tmp_path: Path
) -> None:
    with start() as life:
        convict(life, log, registry, tmp_path)
    last = written(tmp_path, "incidents")[-1]
    assert (last["version"], last["family"], last["hypothesis"]) == ("2", "poisoning", "backdoor")
    assert last["implicated"]["features"] == dict(TRIGGER.features)


def test_what_a_hunt_has_found_is_told_by_the_incident_and_kept_in_the_audit_log(
    start: Callable[[], Any], log: MemoryLog, registry: FileRegistry, tmp_path: Path
) -> None:
    with start() as life:
        convict(life, log, registry, tmp_path)
        uid = written(tmp_path, "incidents")[-1]["uid"]
        hunted = hunt_result(tmp_path / "out", uid, "17 attacks passed.")
        life.hunts()
        life.hunts()
        life.turns(1)
        life.loop.settle()
    told = written(tmp_path, "incidents")
    assert [line["missed"] for line in told] == [""] * (len(told) - 1) + ["17 attacks passed."]
    assert (told[-1]["uid"], told[-1]["activity"]) == (uid, "update")
    (record,) = [r for r in read_records(tmp_path / "out" / FILE_NAME) if r.kind == "hunt"]
    assert record.body == {"incident": uid, "summary": "17 attacks passed.", "sha256": hunted}


def test_what_was_said_about_a_row_counts_for_the_next_version_that_has_it(
    start: Callable[[], Any], log: MemoryLog, registry: FileRegistry, tmp_path: Path
) -> None:
    with start() as life:
        look_into(life)
        answer_what_is_asked(life, log, registry, tmp_path)
        add_as(registry, "3")
        life.job()
        life.turns(12)
        life.loop.settle()
    assert {request["incident"] for request in written(tmp_path, "vetting")} == {"gate:2"}
    called = {i["version"]: (i["family"], i["hypothesis"]) for i in written(tmp_path, "incidents")}
    assert called == dict.fromkeys(("2", "3"), ("poisoning", "backdoor"))


@pytest.mark.parametrize("settled", [True, False])
def test_a_crash_makes_no_request_come_twice_or_never(
    start: Callable[[], Any], world: World, log: MemoryLog, tmp_path: Path, *, settled: bool
) -> None:
    with start() as life:
        life.turns(1)
        life.loop.settle()
        life.job()
        life.turns(1)
        if settled:
            life.loop.settle()
        # and no further settling: as a crash would
    with start() as life:
        life.turns(2)
        life.job()
        life.turns(2)
        log.extend("events", world.served("2", world.draw(400)))
        life.turns(8)
        life.loop.settle()
    asked = [request["id"] for request in written(tmp_path, "vetting") if request["incident"] == "gate:2"]
    assert 0 < len(asked) == len(set(asked)) <= 16
    windows = [(w["index"], w["closed_by"]) for w in written(tmp_path, "windows") if w["version"] == "2"]
    assert windows == [(0, "registered"), (1, "count"), (2, "count")]


def test_a_version_whose_events_were_first_is_not_looked_into_again(
    start: Callable[[], Any], world: World, log: MemoryLog, tmp_path: Path
) -> None:
    with start() as life:
        life.job()
        log.extend("events", world.served("2", world.draw(200)))
        life.loop.turn()  # nothing has been put into the loop yet
        for _ in range(8):
            life.loop.turn()
        life.turns(2)
        life.loop.settle()
    windows = [w["closed_by"] for w in written(tmp_path, "windows") if w["version"] == "2"]
    assert windows == ["count"]


def test_the_daemon_looks_by_itself(
    kafka: KafkaBroker, topic: Callable[..., str], registry: FileRegistry, tmp_path: Path
) -> None:
    """Nothing is sent to it at all; after a restart nothing is asked twice."""
    name = topic("new")
    for role in ("feedback", "trusted", "vetting"):
        kafka.create_topic(f"{name}.{role}")
    schedule = {"new_versions_seconds": 0.2, "registry_verification_seconds": 0, "housekeeping_seconds": 0}
    config = write_config(tmp_path / "new", tmp_path / "registry", kafka.bootstrap, name, schedule=schedule)
    with Daemon(config).start() as daemon:
        wait_until(lambda: daemon.checkpoints() and records(daemon.state / "vetting.ndjson"), "requests about rows")
        assert daemon.stop() == 0, daemon.log()
        asked = records(daemon.state / "vetting.ndjson")
        daemon.start()
        wait_until(lambda: daemon.metric("tocsin_schedule_runs_total") > 3, "runs of the job")
        assert daemon.stop() == 0, daemon.log()
        assert records(daemon.state / "vetting.ndjson") == asked
    assert {request["incident"] for request in asked} == {"gate:2"}


def preparation(registry: FileRegistry) -> Preparation:
    return Preparation(
        NAME, registry, lambda: make_detectors(1e6, 1e4, 1, {}), training_buffer(ModelConfig(), registry)
    )


def test_each_version_is_looked_into_once_and_again_when_what_it_is_compared_with_has_moved(
    registry: FileRegistry,
) -> None:
    inbox = Inbox()
    job = NewVersions(preparation(registry), inbox)
    job()
    job()
    (found,) = inbox.drain()
    assert isinstance(found, Prepared)
    assert isinstance(found.panel, Panel)
    assert (found.model, found.version, found.known_good) == (NAME, "2", "1")
    registry.promote("2", expected="1", known_good=True, by="test", reason="vouched for")
    job()
    assert inbox.drain() == []
    registry.promote("1", expected="2", known_good=True, by="test", reason="taken back")
    registry.promote("2", expected="1", known_good=False, by="test", reason="again")
    job()
    (again,) = inbox.drain()  # the loop gave up what it had fitted when the last known good version moved
    assert isinstance(again, Prepared)
    assert (again.version, again.known_good) == ("2", "1")


def add_as(registry: FileRegistry, version: str) -> None:
    """Version 2 once more, under another name."""
    bundle, buffer = registry.load("2"), registry.buffer("2")
    files = {n: c for n, c in bundle.files.items() if n not in {"manifest.json", "attestation.json"}}
    manifest = bundle.manifest
    draft = Draft(classes=manifest.classes, features=manifest.features, onnx=manifest.onnx)
    registry.add(draft, files, by="test", reason="once more", version=version, buffer=buffer)


def test_what_was_fitted_for_versions_that_never_served_is_not_kept_for_ever(
    start: Callable[[], Any], registry: FileRegistry
) -> None:
    def fitted(life: Life) -> list[str]:
        return sorted(life.parts.watches[NAME].state()["panels"])

    with start() as life:
        life.turns(6)
        for number in range(3, 3 + MOST_AHEAD):
            add_as(registry, str(number))
            life.job()
            life.turns(1)
        waiting = [str(number) for number in range(3, 3 + MOST_AHEAD)]
        assert fitted(life) == ["1", *waiting]
        life.loop.settle()
    with start() as life:
        life.turns(1)
        add_as(registry, str(3 + MOST_AHEAD))
        life.job()
        life.turns(1)
        assert fitted(life) == ["1", *waiting[1:], str(3 + MOST_AHEAD)]


class Flaky(Preparation):
    """A registry that cannot be read at first."""

    broken = True

    def prepared(self, version: str, known_good: str) -> Prepared | None:
        if self.broken:
            raise RegistryError("cannot be read")
        return super().prepared(version, known_good)


def test_a_registry_that_could_not_be_read_is_read_again(registry: FileRegistry) -> None:
    inbox = Inbox()
    flaky = Flaky(NAME, registry, lambda: make_detectors(1e6, 1e4, 1, {}), training_buffer(ModelConfig(), registry))
    job = NewVersions(flaky, inbox)
    job()
    assert inbox.drain() == []
    flaky.broken = False
    job()
    assert [found.version for found in inbox.drain() if isinstance(found, Prepared)] == ["2"]


def test_a_registry_that_goes_away_before_a_version_is_taken_stops_nothing(
    start: Callable[[], Any], registry: FileRegistry, tmp_path: Path
) -> None:
    with start() as life:
        life.turns(6)  # the events are through
        life.job()
        folder = tmp_path / "registry" / NAME
        history = folder / "history.ndjson"
        content = history.read_bytes()
        history.write_bytes(b"no entry\n")
        with structlog.testing.capture_logs() as logs:
            life.turns(1)
        history.write_bytes(content)
        life.loop.settle()
    assert "a new version is not looked into before its first window" in {line["event"] for line in logs}
    assert written(tmp_path, "vetting") == []


def test_a_version_without_a_buffer_is_left_for_its_first_window(registry: FileRegistry) -> None:
    assert Preparation(NAME, registry, lambda: make_detectors(1e6, 1e4, 1, {})).prepared("2", "1") is None


def test_a_version_that_is_not_what_was_signed_is_said_once(registry: FileRegistry, tmp_path: Path) -> None:
    path = tmp_path / "registry" / NAME / "2" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    inbox = Inbox()
    job = NewVersions(preparation(registry), inbox)
    with structlog.testing.capture_logs() as logs:
        job()
        job()
    assert [(line["event"], line["version"]) for line in logs] == [("a new version cannot be looked into", "2")]
    assert inbox.drain() == []


def test_of_versions_that_wait_the_newest_are_looked_into() -> None:
    names = [str(i) for i in range(1, 9)]
    assert ahead(names, Pointers("2", "2")) == names[-MOST_AHEAD:]
    assert ahead(names, Pointers("8", "1")) == ["8"]
    assert ahead([], Pointers(None, None)) == []
