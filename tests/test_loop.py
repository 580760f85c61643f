"""The loop over a log in memory: what is written does not depend on when it was killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from scenario import NAME, World

from monitor.assemble import Surroundings, assemble
from monitor.labels.keeping import StoreKeeping
from monitor.loop import Loop, LoopSettings, Parts
from monitor.messages import VettingRequest
from monitor.oracle import Elsewhere
from monitor.response import NoResponse
from monitor.settings.config import Config, ModelConfig
from monitor.sources.memory import MemoryLog, MemorySource
from monitor.sources.source import Listener
from monitor.state.checkpoint import CheckpointStore
from monitor.state.settlement import Checkpoints
from monitor.watching.metrics import Metrics
from monitor.watching.stages import NoStages, RememberedStages, Stages
from rollback.manifest import Draft
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys
from rollback.store.row import Row
from rollback.store.store import Store

OUTPUTS = ("windows", "incidents", "vetting", "quarantine")
TOPICS = {"events": "inference", "vetted": "trusted"}


class CrashError(Exception):
    """The process is gone."""


@contextmanager
def running(
    world: World, log: MemoryLog, folder: Path, crash_after: int | None, settle_every: int, stages: Stages | None = None
) -> Iterator[tuple[Loop, Callable[[], float]]]:
    """A loop as `tocsin run` makes it, over the log; settles every so many turns."""
    turns = [0.0]

    def connect(listener: Listener) -> MemorySource:
        source = MemorySource(log, listener, ends=True)
        if crash_after is not None:
            source.abort_after(crash_after, CrashError())
        return source

    config = Config(models={NAME: ModelConfig(window_events=250, window_max_seconds=1e9, trusted_origins=["sandbox"])})
    with CheckpointStore(folder / "checkpoints") as store:
        metrics = Metrics(CollectorRegistry(), "test", lambda: 0.0)
        around = Surroundings({NAME: world.registry}, folder, store, metrics, NoResponse(), b"k" * 32, seed=1)
        parts = assemble(config, around)
        kept = parts.kept()
        saved = Checkpoints(store, kept, parts.outputs, metrics.checkpointed)
        keeping = StoreKeeping({NAME: Store(folder / "store")}, lambda: 0.0)
        made = Parts(
            connect,
            parts.intake,
            parts.watches,
            parts.teller,
            saved,
            Elsewhere(),
            lambda: turns[0],
            keeping=keeping,
            stages=stages or NoStages(),
        )
        loop = Loop(made, LoopSettings(max_messages=170, poll_seconds=0.0, settle_seconds=settle_every))

        def turn() -> float:
            turns[0] += 1
            loop.turn()
            return turns[0]

        yield loop, turn
        for output in parts.outputs.values():
            output.close()


def drive(world: World, log: MemoryLog, folder: Path, crash_after: int | None = None, settle_every: int = 3) -> bool:
    """Run until the log is read or the crash comes; whether it got to the end."""
    with running(world, log, folder, crash_after, settle_every) as (loop, turn):
        try:
            while not loop.finished:
                turn()
        except CrashError:
            return False
        loop.finish()
    return True


@pytest.fixture(scope="module")
def messages(world: World) -> list[bytes]:
    quiet, attacked = world.draw(1000), world.draw(1600)
    events = world.served("1", quiet) + world.served("2", attacked, triggered=0.05)
    return [*events[:700], b"garbage", *events[700:], events[3]]


def log_of(messages: list[bytes]) -> MemoryLog:
    log = MemoryLog(TOPICS)  # type: ignore[arg-type]  # roles as text
    log.extend("events", messages)
    return log


@pytest.fixture(scope="module")
def undisturbed(world: World, messages: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert drive(world, log_of(messages), folder)
    return {name: (folder / f"{name}.ndjson").read_bytes() for name in OUTPUTS}


@pytest.mark.parametrize("settle_every", [1, 4])
def test_crashes_anywhere_leave_the_same_outputs(
    world: World, messages: list[bytes], undisturbed: dict[str, bytes], tmp_path: Path, settle_every: int
) -> None:
    log, rng = log_of(messages), np.random.default_rng(settle_every)
    crashes = 0
    while not drive(world, log, tmp_path, int(rng.integers(200, 1500)), settle_every):
        crashes += 1
    assert crashes > 0
    assert {name: (tmp_path / f"{name}.ndjson").read_bytes() for name in OUTPUTS} == undisturbed


def test_a_turn_tells_its_stages_and_what_they_are_at(
    world: World, messages: list[bytes], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    told = RememberedStages(lambda: 0.0)
    with running(world, log_of(messages), tmp_path, None, 4, told) as (loop, turn):
        while not loop.finished:
            turn()
    of_a_window = {(name, "judge") for name in ("score", "detect", "tell")}
    assert {(s.name, s.within) for s in told.stages} == {
        ("turn", None),
        ("settle", None),
        ("judge", "turn"),
    } | of_a_window
    judged = [stage.about for stage in told.stages if stage.name == "judge"]
    windows = [json.loads(line) for line in undisturbed["windows"].splitlines()]
    wanted = [{"model": NAME, "version": w["version"], "window": w["index"], "events": w["events"]} for w in windows]
    assert judged == wanted[: len(judged)] != []
    assert not any(stage.failed for stage in told.stages)


def test_labels_are_kept_with_their_events_once_however_often_it_crashes(
    world: World, messages: list[bytes], tmp_path: Path
) -> None:
    ids = [json.loads(message)["id"] for message in messages[:600:2]]
    said = [json.dumps({"id": i, "ts": 1.7e9 + 10**6, "label": "attack", "origin": "crowd"}).encode() for i in ids]

    def kept(folder: Path, *crashes: int) -> list[Row]:
        log = log_of(messages[:1000])
        log.extend("vetted", said)
        for crash in crashes:
            assert not drive(world, log, folder, crash)
        assert drive(world, log, folder)
        return sorted(Store(folder / "store").rows(), key=lambda row: row.id)

    rows = kept(tmp_path / "undisturbed")
    assert [row.id for row in rows] == sorted(ids)
    assert {(s.label, s.origin, s.at) for row in rows for s in row.labels} == {("attack", "crowd", 1.7e9 + 10**6)}
    assert all(len(row.labels) == 1 for row in rows)
    assert kept(tmp_path / "crashed", 800) == rows


def test_every_event_is_in_one_window(undisturbed: dict[str, bytes]) -> None:
    windows = [json.loads(line) for line in undisturbed["windows"].splitlines()]
    held = [o for w in windows for r in w["offsets"] for o in range(r["first"], r["last"] + 1)]
    assert sorted(held) == [o for o in range(2602) if o not in (700, 2601)]
    assert [w["index"] for w in windows if w["version"] == "2"] == list(range(7))


def test_what_cannot_be_read_is_put_aside_with_its_place(undisturbed: dict[str, bytes]) -> None:
    (line,) = [json.loads(line) for line in undisturbed["quarantine"].splitlines()]
    assert (line["topic"], line["offset"], line["reason"], line["raw"]) == ("events", 700, "bad_json", "garbage")


def test_a_lost_state_starts_cold_at_the_brokers_offset_and_loses_nothing_that_comes_after(
    world: World, messages: list[bytes], tmp_path: Path
) -> None:
    log = log_of(messages[:1000])
    assert drive(world, log, tmp_path / "first")
    log.extend("events", messages[1000:])
    assert drive(world, log, tmp_path / "second")
    windows = [json.loads(line) for line in (tmp_path / "second" / "windows.ndjson").read_text().splitlines()]
    held = [o for w in windows for r in w["offsets"] for o in range(r["first"], r["last"] + 1)]
    # the repeat at the end is new to a state that never saw the first one
    assert sorted(held) == list(range(1000, 2602))


def test_answers_that_come_when_no_events_flow_still_decide(
    world: World, messages: list[bytes], tmp_path: Path
) -> None:
    log = log_of(messages)
    assert drive(world, log, tmp_path)
    decoder = msgspec.json.Decoder(VettingRequest)
    asked = [decoder.decode(line).id for line in (tmp_path / "vetting.ndjson").read_bytes().splitlines()]
    assert asked
    answers = [msgspec.json.encode({"id": i, "ts": 2e9, "label": "attack", "origin": "sandbox"}) for i in asked]
    log.extend("vetted", answers)
    assert drive(world, log, tmp_path)
    last = json.loads((tmp_path / "incidents.ndjson").read_text().splitlines()[-1])
    assert (last["family"], last["hypothesis"], last["status"]) == ("poisoning", "backdoor", "confirmed")


def test_events_that_were_read_before_their_version_was_registered_with_other_columns_stop_nothing(
    world: World, messages: list[bytes], tmp_path: Path
) -> None:
    def renamed(message: bytes, *, short: bool) -> bytes:
        event = json.loads(message) | {"version": "late"}
        if short:
            del event["features"]["urgent"]
        return json.dumps(event).encode()

    root = tmp_path / "registry"
    shutil.copytree(world.root / "registry", root, symlinks=True)
    registry = FileRegistry(root, NAME, Keys.trial(root, make=True), lambda: 0.0)
    log = log_of([renamed(m, short=False) for m in messages[:100]])
    other = World(world.root, registry, world.supply, world.rng)
    assert drive_without_end(other, log, tmp_path / "out")
    spec = registry.load("1").manifest
    draft = Draft(classes=spec.classes, features=tuple(f for f in spec.features if f.name != "urgent"))
    registry.add(draft, {}, by="test", reason="test", version="late")
    log.extend("events", [renamed(m, short=True) for m in messages[100:400]])
    assert drive(other, log, tmp_path / "out")
    windows = [json.loads(line) for line in (tmp_path / "out" / "windows.ndjson").read_text().splitlines()]
    assert sum(w["events"] for w in windows) == 400


def drive_without_end(world: World, log: MemoryLog, folder: Path) -> bool:
    """Read everything and leave, with a window half full."""
    with running(world, log, folder, None, 1) as (loop, turn):
        for _ in range(4):
            turn()
        loop.settle()
    return True
