"""`tocsin run` in mode act with a model server, traffic and a labeller around it: from the verdict to the promotion."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from daemon_process import Daemon, Labeller, send, wait_until, write_config
from kafka_broker import KafkaBroker
from scenario import NAME, World

from monitor.demo.server.server import ModelServer
from monitor.demo.supply import GeneratedTraffic
from monitor.response import ANSWERS, RETRAININGS
from rollback.audit.log import FILE_NAME
from rollback.registry.file import FileRegistry
from rollback.response.cases import Case
from rollback.response.desk import Answer, FolderDesk
from rollback.response.record import read_cases
from rollback.response.steps import ACTOR
from rollback.signing.keys import Keys
from rollback.tables.table import read_table

BATCH = 400
PATIENCE = 400.0


class Traffic(threading.Thread):
    """What the model server serves, as events: batch after batch, as many as are allowed, a few attacks in each."""

    def __init__(self, stage: Stage, topic: str, taught: Mapping[str, str]) -> None:
        super().__init__(daemon=True)
        self._stage = stage
        self._topic = topic
        self._world = World(stage.root, stage.registry, GeneratedTraffic(13), np.random.default_rng(13))
        self.sent = 0
        self.allowed = 10**9
        self.over = False
        self.truth = dict(taught)
        self.failed: Exception | None = None

    def run(self) -> None:
        try:
            while not self.over:
                if self.sent < self.allowed and self._stage.daemon.counted() >= self.sent:
                    self._batch()
                time.sleep(0.1)
        except Exception as error:  # noqa: BLE001 - told by the test's own thread
            self.failed = error

    def _batch(self) -> None:
        samples = self._world.draw(BATCH)
        now = time.time()
        samples = replace(samples, ts=np.linspace(now - 1.0, now - 0.5, BATCH))
        self.truth.update(zip(samples.id.tolist(), samples.label.tolist(), strict=True))
        events = self._world.served(self._stage.server.version, samples, triggered=0.03)
        send(self._stage.bootstrap, self._topic, events)
        self.sent += len(events)


@dataclass
class Stage:
    """A registry in which the poisoned version serves, its model server, and a daemon that may act."""

    root: Path
    registry: FileRegistry
    server: ModelServer
    daemon: Daemon
    bootstrap: str

    def cases(self) -> dict[str, Case]:
        """By kind: there is one of each at most."""
        cases = read_cases(self.daemon.state / FILE_NAME)
        assert len({case.kind for case in cases.values()}) == len(cases), sorted(cases)
        return {case.kind: case for case in cases.values()}

    def approve(self) -> None:
        """Approve the promotion, once it waits for it."""
        promotion = self.cases().get("promotion")
        if promotion is not None and promotion.phase == "approval":
            FolderDesk(self.daemon.state / ANSWERS).give(Answer(promotion.key, "approve", "ann"))

    def end(self) -> dict[str, Any]:
        """What it all came to."""
        moves = [(m.action, m.previous, m.version) for m in self.registry.history() if m.by == ACTOR]
        last = {i["uid"]: i for i in self.daemon.incidents()}
        (poisoning,) = [i for i in last.values() if i["version"] == "2"]
        (folder,) = (self.daemon.state / RETRAININGS).iterdir()
        removed = read_table(folder / "removed.parquet", text=["id", "screen"])
        return {
            "moves": moves,
            "versions": list(self.registry.versions()),
            "serves": self.server.version,
            "phases": {kind: case.phase for kind, case in self.cases().items()},
            "incident": (poisoning["hypothesis"], poisoning["status"], poisoning["activity"]),
            "actions": [(a["action"], a["target"], a["result"]) for a in poisoning["action"]],
            "removed": sorted(removed.strings("id").tolist()),
        }


@contextmanager
def stage(
    kafka: KafkaBroker, topic: str, folder: Path, world: World, **changes: Any
) -> Iterator[tuple[Stage, Traffic]]:
    root = folder / "registry"
    shutil.copytree(world.root / "registry", root, symlinks=True)
    registry = FileRegistry(root, NAME, Keys.trial(root, make=True), time.time)
    registry.promote("2", expected="1", known_good=False, by="release", reason="scheduled retrain")
    for role in ("feedback", "trusted", "vetting"):
        kafka.create_topic(f"{topic}.{role}")
    with ModelServer(registry, NAME) as server:
        model = {"serving": {"endpoints": [server.url]}, "response": {"retry_seconds": 0.2}, **changes.pop("model", {})}
        config = write_config(folder, root, kafka.bootstrap, topic, mode="act", model=model, **changes)
        daemon = Daemon(config)
        set_up = Stage(folder, registry, server, daemon, kafka.bootstrap)
        traffic = Traffic(set_up, topic, world.taught)
        with daemon, Labeller(daemon.state, kafka.bootstrap, f"{topic}.trusted", traffic.truth):
            traffic.start()
            try:
                yield set_up, traffic
            finally:
                traffic.over = True
                traffic.join()
        assert traffic.failed is None, traffic.failed


def complete(stage: Stage, traffic: Traffic) -> None:
    """Approve, and wait until the incident is closed and every event is in a window; then stop in order."""

    def over() -> bool:
        assert stage.daemon.process.poll() is None, f"it ended by itself:\n{stage.daemon.log()}"
        stage.approve()
        halted = [case for case in stage.cases().values() if case.phase in {"halted", "rejected", "declined"}]
        assert not halted, (halted, stage.daemon.log())
        return any(i["activity"] == "close" and i["version"] == "2" for i in stage.daemon.incidents())

    stage.daemon.says('"event": "listening"')  # from then on it stops in order
    wait_until(over, "the end of the story", PATIENCE)
    traffic.over = True
    traffic.join()
    wait_until(lambda: stage.daemon.counted() >= traffic.sent, "every event in a window", PATIENCE)
    assert stage.daemon.stop() == 0, stage.daemon.log()
