"""`tocsin run` over a real Kafka, killed at random moments: every event counts once, and the story stays the same."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from daemon_process import Daemon, Labeller, records, send, wait_until, write_config
from kafka_broker import KafkaBroker
from scenario import NAME, TRIGGER, World

from monitor.demo.supply import GeneratedTraffic
from rollback.audit.log import FILE_NAME
from rollback.audit.verification import verify
from rollback.registry.file import FileRegistry
from rollback.response.record import read_cases
from rollback.signing.keys import Keys

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = int(os.environ.get("KILLS", "10"))  # `make soak` kills far more often
BATCH = 400
QUIET, ATTACKED = 2000, 10_000


class Stream:
    """Quiet events of version 1, then triggered ones of version 2; what is true about them."""

    def __init__(self, world: World, quiet: int, attacked: int) -> None:
        # draws of its own: what is drawn does not depend on the tests before
        mine = World(world.root, world.registry, GeneratedTraffic(11), np.random.default_rng(11))
        first, second = mine.draw(quiet), mine.draw(attacked)
        self.events = mine.served("1", first) + mine.served("2", second, triggered=0.03)
        self.ids = [*first.id.tolist(), *second.id.tolist()]
        served = dict(zip(self.ids, [*first.label.tolist(), *second.label.tolist()], strict=True))
        self.truth = world.taught | served


class Feeder(threading.Thread):
    """Writes batch after batch, each when the one before is in windows, so that answers come in between."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, events: list[bytes], daemon: Daemon) -> None:
        super().__init__(daemon=True)
        self._servers, self._topic, self._partitions = bootstrap, topic, partitions
        self._events = events
        self._daemon = daemon
        self._sent = 0
        self.allowed = 1.0
        self.over = False

    def run(self) -> None:
        while self._sent < len(self._events) and not self.over:
            if self._sent <= self.allowed * len(self._events) and self._daemon.counted() >= self._sent:
                batch = self._events[self._sent : self._sent + BATCH]
                send(self._servers, self._topic, batch, self._partitions)
                self._sent += len(batch)
            time.sleep(0.05)


@pytest.fixture(scope="module")
def stream(world: World) -> Stream:
    return Stream(world, QUIET, ATTACKED)


@contextmanager
def watched(
    kafka: KafkaBroker,
    topic: str,
    folder: Path,
    registry: Path,
    stream: Stream,
    partitions: int = 1,
    **changes: Any,
) -> Iterator[tuple[Daemon, Feeder]]:
    """A daemon that is not started yet, its labeller, and a feeder that has begun.

    Version 2 is looked into before any event of it comes. Were it answered about before its incident is told of, the
    speed of the answers would decide at which window that begins, and how: the labeller waits for the incident.
    """
    for role in ("feedback", "trusted", "vetting"):
        kafka.create_topic(f"{topic}.{role}")
    daemon = Daemon(write_config(folder, registry, kafka.bootstrap, topic, **changes))
    feeder = Feeder(kafka.bootstrap, topic, partitions, stream.events, daemon)

    def ready() -> bool:
        return any(incident["version"] == "2" for incident in daemon.incidents())

    with daemon, Labeller(daemon.state, kafka.bootstrap, f"{topic}.trusted", stream.truth, ready):
        feeder.start()
        try:
            yield daemon, feeder
        finally:
            feeder.over = True
            feeder.join()


def complete(daemon: Daemon, feeder: Feeder, stream: Stream) -> None:
    """Let everything be read, and stop in order."""
    feeder.allowed = 1.0
    wait_until(lambda: daemon.counted() >= len(stream.events), "all events in windows")
    assert daemon.stop() == 0, daemon.log()


def story(daemon: Daemon) -> list[dict[str, Any]]:
    """What does not depend on when answers came: how each incident began, and what it came to."""
    incidents = daemon.incidents()
    last = {i["uid"]: i for i in incidents}
    return [
        {
            "uid": i["uid"],
            "version": i["version"],
            "opened_at": i["opened_at"],
            "window": i["window"] | {"offsets": [(r["first"], r["last"]) for r in i["window"]["offsets"]]},
            "began": (i["family"], i["hypothesis"], i["status"]),
            "came_to": (last[i["uid"]]["family"], last[i["uid"]]["hypothesis"], last[i["uid"]]["status"]),
            "features": last[i["uid"]]["implicated"]["features"],
        }
        for i in incidents
        if i["activity"] == "create"
    ]


def check_windows(daemon: Daemon, stream: Stream) -> None:
    """Every event is in one window record, whose first and last ids are those of its events."""
    assert daemon.held() == list(range(len(stream.events)))
    windows = [w for w in daemon.windows() if w["events"]]
    for window in windows:
        offsets = [o for r in window["offsets"] for o in range(r["first"], r["last"] + 1)]
        assert len(offsets) == window["events"] == 200
        assert {window["first_id"], window["last_id"]} <= {stream.ids[o] for o in offsets}
    for version in ("1", "2"):
        indices = [w["index"] for w in daemon.windows() if w["version"] == version]
        assert indices == list(range(len(indices)))


def live_and_die(daemon: Daemon, rng: np.random.Generator, starting: float) -> None:
    """One life: ended while starting (in this share of them), or in mid-stream, a moment after a checkpoint."""
    before = daemon.checkpoints()
    daemon.start()
    if rng.random() < starting:
        time.sleep(rng.uniform(0.2, 5.0))
    else:
        # the first one says only where reading starts
        wait_until(lambda: daemon.checkpoints() >= before + 2 or daemon.process.poll() is not None, "a checkpoint")
        time.sleep(rng.uniform(0.0, 0.8))
    assert daemon.process.poll() is None, f"it ended by itself:\n{daemon.log()}"
    daemon.kill()


def test_kills_lose_nothing_double_nothing_and_change_no_incident(
    kafka: KafkaBroker, topic: Callable[..., str], world: World, stream: Stream, tmp_path: Path
) -> None:
    """Killed runs and an undisturbed one tell of the same incidents.

    When answers reach the loop depends on how fast it goes, so what is in between (updates, at which window the
    verdict was reached, its confidence) is not compared: how incidents begin is, and what they come to.
    """
    registry = world.root / "registry"
    with watched(kafka, topic("calm"), tmp_path / "calm", registry, stream) as (calm, feeder):
        complete(calm.start(), feeder, stream)
    rng = np.random.default_rng(5)
    with watched(kafka, topic("crash"), tmp_path / "crash", registry, stream) as (crashed, feeder):
        for life in range(KILLS):
            feeder.allowed = life / KILLS
            live_and_die(crashed, rng, starting=0.4)
        complete(crashed.start(), feeder, stream)
    check_windows(calm, stream)
    check_windows(crashed, stream)
    assert story(crashed) == story(calm)
    (poisoning,) = [i for i in story(calm) if i["version"] == "2"]
    assert poisoning["came_to"] == ("poisoning", "backdoor", "confirmed")
    assert poisoning["features"] == dict(TRIGGER.features)


def test_events_of_several_partitions_count_once(
    kafka: KafkaBroker, topic: Callable[..., str], world: World, tmp_path: Path
) -> None:
    stream, partitions, lives = Stream(world, 2800, 200), 3, 4
    name, rng = topic("parts", partitions), np.random.default_rng(6)
    with watched(kafka, name, tmp_path, world.root / "registry", stream, partitions) as (daemon, feeder):
        for life in range(lives):
            feeder.allowed = life / lives
            live_and_die(daemon, rng, starting=0.0)
        complete(daemon.start(), feeder, stream)
    held = [daemon.held(p) for p in range(partitions)]
    assert held == [list(range(len(offsets))) for offsets in held]
    assert sum(map(len, held)) == len(stream.events)


def test_kills_around_the_rollback_leave_exactly_one(
    kafka: KafkaBroker, topic: Callable[..., str], world: World, tmp_path: Path
) -> None:
    stream = Stream(world, 400, 4000)
    root = tmp_path / "registry"
    shutil.copytree(world.root / "registry", root, symlinks=True)
    registry = FileRegistry(root, NAME, Keys.trial(root), time.time)
    registry.promote("2", expected="1", known_good=False, by="release", reason="scheduled retrain")
    with watched(kafka, topic("act"), tmp_path / "act", root, stream, mode="act") as (daemon, feeder):
        audit = daemon.state / FILE_NAME
        moment = 0.0
        while _phase(audit) not in {"done", "served"}:
            before = _kinds(audit).count("outcome")
            daemon.start()
            while _kinds(audit).count("outcome") == before:
                time.sleep(0.001)
                assert daemon.process.poll() is None, f"it ended by itself:\n{daemon.log()}"
            time.sleep(moment)
            daemon.kill()
            moment = (moment + 0.008) % 0.05  # another moment each time: before, within and after each step
        complete(daemon.start(), feeder, stream)
    assert [(m.action, m.version, m.previous) for m in registry.history() if m.by == "tocsin"] == [
        ("quarantine", "2", None),
        ("rollback", "1", "2"),
    ]
    assert registry.pointers().serving == "1"
    assert verify(audit).records == len(_kinds(audit))
    plans = [r["body"]["case"]["kind"] for r in records(audit) if r["kind"] == "plan"]
    assert plans[:2] == ["rollback", "retraining"]
    assert plans[2:] in ([], ["promotion"])  # which waits for approval, if the retraining came so far
    told = daemon.incidents()[-1]["action"][0]
    assert (told["action"], told["target"], told["result"]) == ("rollback", "1", "done")


def _phase(audit: Path) -> str:
    """Of the rollback; empty before there is one."""
    return next((case.phase for case in read_cases(audit).values() if case.kind == "rollback"), "")


def _kinds(audit: Path) -> list[str]:
    """Of the whole lines: the last one may be being written."""
    return [record["kind"] for record in records(audit)]
