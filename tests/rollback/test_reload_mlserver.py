"""The adapter `v2` against a real MLServer that serves what the registry's pointer names: it moves, fails and hangs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from installed import installed
from kafka_broker import free_ports
from python_servers import MLServer
from tiny_registry import NAME, add

from monitor.reloaders import reloader
from monitor.settings.response_sections import ServingConfig
from rollback.audit.log import FILE_NAME, AuditLog
from rollback.registry.file import FileRegistry
from rollback.registry.moves import quarantined
from rollback.reload.exchange import Server
from rollback.reload.reloader import Observation, Reloader, ReloadRefusedError, ReloadRetryableError
from rollback.reload.v2 import Settings
from rollback.response.charge import Charge
from rollback.response.desk import MemoryDesk
from rollback.response.policy import Finding, PolicySettings
from rollback.response.responder import Responder
from rollback.response.steps import Target
from rollback.response.worker import Inline
from rollback.signing.keys import Keys
from rollback.train.memory import MemoryTrainer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first run installs MLServer


class Place:
    """A registry in a folder with versions 1 (serves) and 2, and MLServer before it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "registry"
        self.registry = FileRegistry(self.root, NAME, Keys.trial(self.root, make=True), time.time)
        add(self.registry, 1)
        add(self.registry, 2)
        self.server = MLServer(folder / "server", self.root, NAME, free_ports(2))

    def servers(self, **more: object) -> Reloader:
        values = {"adapter": "v2", "endpoints": [self.server.url], "timeout_seconds": 5.0, "load_timeout_seconds": 20.0}
        return reloader(NAME, ServingConfig.model_validate(values | more), {})

    def point(self, version: str) -> None:
        now = self.registry.pointers().serving
        if version in quarantined(self.registry.history()):  # an earlier test has rolled back
            self.registry.release(version, by="test", reason="test")
        if now != version:
            self.registry.promote(version, expected=now, known_good=False, by="test", reason="test")

    def observe(self, version: str, **more: object) -> Observation:
        (seen,) = self.servers(**more).observe(version, self.registry.load(version).canaries())
        return seen


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    installed("mlserver")
    place = Place(tmp_path_factory.mktemp("mlserver"))
    with place.server:
        yield place


@pytest.fixture
def place(running: Place) -> Place:
    """Version 1 is pointed to and served."""
    running.point("1")
    running.servers().start(None, "1")
    return running


@pytest.mark.parametrize("unload_first", [False, True])
def test_a_move_is_loaded_seen_and_can_be_taken_back(place: Place, *, unload_first: bool) -> None:
    url = place.server.url
    assert place.observe("1") == Observation(url, "1", 1.0)
    for old, new in (("1", "2"), ("2", "1")):
        place.point(new)
        before = place.observe(new)
        assert (before.version, before.agreement) == (old, 0.0)
        assert f"version {old!r} answers, not {new!r}" in before.problem
        place.servers(v2=Settings(unload_first=unload_first)).start(old, new)
        assert place.observe(new) == Observation(url, new, 1.0)


def test_a_load_before_the_pointer_has_moved_changes_nothing_and_that_is_seen(place: Place) -> None:
    place.servers().start("1", "2")
    assert "version '1' answers, not '2'" in place.observe("2").problem


def test_nothing_is_in_its_way(place: Place) -> None:
    assert place.servers().obstacles() == ()


def test_a_version_that_is_not_what_was_signed_is_refused_and_the_old_one_goes_on(place: Place) -> None:
    place.point("2")
    model = place.root / NAME / "2" / "model.onnx"
    content = model.read_bytes()
    model.chmod(0o600)
    try:
        model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(
            (ReloadRefusedError, ReloadRetryableError), match=r"POST /v2/repository/models/nids/load: status"
        ):
            place.servers().start("1", "2")
    finally:
        model.write_bytes(content)
    assert place.observe("1") == Observation(place.server.url, "1", 1.0)


def test_a_model_that_was_unloaded_is_a_problem_that_the_index_explains_and_a_load_brings_it_back(place: Place) -> None:
    Server(place.server.url).demand("POST", f"/v2/repository/models/{NAME}/unload", {}, 5.0)
    seen = place.observe("1")
    assert (seen.version, seen.agreement) == (None, None)
    assert "status 404" in seen.problem
    assert "its index says: UNAVAILABLE" in seen.problem
    place.servers(v2=Settings(unload_first=True)).start("1", "1")
    assert place.observe("1") == Observation(place.server.url, "1", 1.0)


def test_a_server_that_hangs_is_left_in_time_and_loads_when_it_is_asked_again(place: Place) -> None:
    place.point("2")
    place.server.pause()
    try:
        with pytest.raises(ReloadRetryableError, match=f"{place.server.url}: no (whole )?answer within"):
            place.servers(load_timeout_seconds=0.5).start("1", "2")
        assert "no answer within" in place.observe("2", timeout_seconds=0.5).problem.replace("whole ", "")
    finally:
        place.server.go_on()
    # two loads at once, the one that was given up and ours, MLServer may answer with 500: that may be tried again
    for _ in range(50):
        with suppress(ReloadRetryableError):
            place.servers().start("1", "2")
            break
    assert place.observe("2") == Observation(place.server.url, "2", 1.0)


def test_a_rollback_is_done_when_the_server_is_seen_to_serve_the_last_known_good_version(
    place: Place, tmp_path: Path
) -> None:
    place.point("2")
    place.servers().start("1", "2")
    target = Target(place.registry, place.servers())
    charge = Charge(target, MemoryTrainer(), lambda _: None, PolicySettings(retrain=False))
    with closing(AuditLog(tmp_path / FILE_NAME, time.time)) as audit:
        responder = Responder(
            "act", {NAME: charge}, MemoryDesk(), Inline(), audit, tmp_path / FILE_NAME, tmp_path, time.time
        )
        responder.consider(Finding("i1", NAME, "2", "poisoning", "confirmed", 0.99, "{}"))
        for _ in range(5):
            responder.step()
        (case,) = responder.cases.values()
    assert (case.phase, case.detail) == ("done", f"every endpoint serves version 1: {place.server.url}")
    assert place.observe("1") == Observation(place.server.url, "1", 1.0)
