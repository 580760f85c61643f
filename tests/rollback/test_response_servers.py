"""A rollback against real model servers over HTTP that lie, hang and refuse: retried, halted, never called done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lying_server import LyingServer
from tiny_registry import NAME, make_registry, point

from monitor.demo.server.server import ModelServer
from monitor.response import action
from rollback.audit.log import FILE_NAME, AuditLog
from rollback.audit.verification import verify
from rollback.registry.memory import MemoryRegistry
from rollback.reload.memory import Behaviour, Conduct
from rollback.reload.v2 import V2Reloader
from rollback.reload.v2_client import V2Settings
from rollback.response.cases import Case, Tries
from rollback.response.desk import Answer, MemoryDesk
from rollback.response.policy import Finding, PolicySettings
from rollback.response.responder import Charge, Responder
from rollback.response.steps import Target
from rollback.response.worker import Threads
from rollback.train.memory import MemoryTrainer

POISONED = Finding("i1", NAME, "2", "poisoning", "confirmed", 0.99, "{}")
KEY = "i1/rollback/2/1"
RESTING = {"done", "halted"}


class Set:
    """An honest server and one that may lie, both serving the poisoned version 2, and a responder that may act."""

    def __init__(self, folder: Path) -> None:
        self.registry: MemoryRegistry = make_registry()
        point(self.registry, "2")
        self.honest = ModelServer(self.registry, NAME)
        self.liar = LyingServer(self.registry, NAME)
        settings = V2Settings(timeout_seconds=0.5, load_timeout_seconds=0.5)
        reloader = V2Reloader([self.honest.url, self.liar.url], NAME, settings)
        charge = Charge(
            Target(self.registry, reloader),
            MemoryTrainer(),
            lambda _: None,
            PolicySettings(retrain=False),
            Tries(attempts=3, retry_seconds=0.01),
        )
        self.audit = AuditLog(folder / FILE_NAME, time.time)
        self.desk = MemoryDesk()
        self.responder = Responder(
            "act", {NAME: charge}, self.desk, Threads(), self.audit, folder / FILE_NAME, folder, time.time
        )

    def run(self) -> Case:
        """Turn until the case rests."""
        deadline = time.monotonic() + 60
        while self.case().phase not in RESTING:
            assert time.monotonic() < deadline, self.case()
            self.responder.step()
            time.sleep(0.005)
        return self.case()

    def case(self) -> Case:
        return self.responder.cases[KEY]

    def close(self) -> None:
        self.honest.close()
        self.liar.close()
        self.audit.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Set]:
    made = Set(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("conduct", "said", "tries"),
    [
        ("says_new_serves_old", "of the canaries as version '1' does", 3),
        ("half_right", "of the canaries as version '1' does", 3),
        ("hangs", "no whole answer", 3),
        ("busy", "busy", 3),
        ("refuses", "no", 1),
    ],
)
def test_a_server_that_misbehaves_halts_the_rollback_and_never_counts_as_done(
    servers: Set, tmp_path: Path, conduct: Conduct, said: str, tries: int
) -> None:
    servers.liar.behaviour = Behaviour(conduct)
    servers.responder.consider(POISONED)
    case = servers.run()
    assert case.phase == "halted"
    assert servers.liar.url in case.detail
    assert said in case.detail
    assert (case.attempt == tries) == (tries > 1)
    assert action(case).result == "halted"
    assert servers.responder.waiting(NAME) == 1
    # what could be brought back to the verified version was, and nothing else was served instead
    assert servers.honest.version == "1"
    assert servers.registry.pointers().serving == "1"
    assert verify(tmp_path / FILE_NAME).records > 0


def test_a_server_that_was_mended_is_brought_back_when_a_person_says_so(servers: Set) -> None:
    servers.liar.behaviour = Behaviour("says_new_serves_old")
    servers.responder.consider(POISONED)
    assert servers.run().phase == "halted"
    servers.liar.behaviour = Behaviour()
    servers.desk.give(Answer(KEY, "again", "ann"))
    servers.responder.step()
    case = servers.run()
    assert case.phase == "done"
    assert case.detail.startswith("every endpoint serves version 1")


def test_a_slow_server_is_waited_for(servers: Set) -> None:
    servers.liar.behaviour = Behaviour(asks=1)
    servers.responder.consider(POISONED)
    assert servers.run().phase == "done"
