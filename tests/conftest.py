"""What many tests need: a listener, and a real broker (started once a session, only if a test asks for it)."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
from hypothesis import HealthCheck, settings
from in_process import Run, runner
from kafka_broker import BrokerUnavailableError, KafkaBroker, collect_sockets, jars
from scenario import World, make_world
from theatre import Theatre

from monitor.sources.source import Committed, Partition
from rollback.reload.memory import Behaviour

# A machine under load is slow: that is no failure of a law.
settings.register_profile("tocsin", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tocsin")


LONG: Final = frozenset(
    {
        "test_crash_steps.py",
        "test_daemon_act.py",
        "test_daemon_crash.py",
        "test_demo.py",
        "test_grafana_daemon.py",
        "test_retrain_child.py",
        "test_retrain_kill.py",
        "test_separation_ratchet.py",
    }
)
"""Files that take minutes come first: at the end one of them would keep a single process busy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """kafka-python leaves connections that a broker refused to the garbage collector: no fault of these tests."""
    items.sort(key=lambda item: item.path.name not in LONG)
    for item in items:
        if _speaks_kafka(item):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


def _speaks_kafka(item: Any) -> bool:
    return item.get_closest_marker("kafka") is not None or "kafka" in getattr(item, "fixturenames", ())


@pytest.fixture(autouse=True)
def logs_go_where_they_went() -> Iterator[None]:
    """A command that a test ran in this process sent the logs to that test's own stderr, which is closed by now."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


SPOKE_KAFKA = pytest.StashKey[bool]()


@pytest.fixture(autouse=True, scope="module")
def refused_sockets_stay_with_kafka(request: pytest.FixtureRequest) -> None:
    """A test's own objects outlive its teardown: what the last test with Kafka held is collected before others come."""
    if request.config.stash.get(SPOKE_KAFKA, False):
        collect_sockets()
        request.config.stash[SPOKE_KAFKA] = False


@pytest.fixture(autouse=True)
def refused_sockets_are_collected(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set up first, and so torn down last: nothing that a broker refused in a test is found in a later one."""
    yield
    if _speaks_kafka(request.node):
        collect_sockets()
        request.config.stash[SPOKE_KAFKA] = True


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """See `in_process.runner`."""
    return runner(capsys)


class RecordingListener:
    """Writes down what a source says; ``starts`` is what it answers, ``failures`` is raised when it is positioned."""

    def __init__(self) -> None:
        self.starts: dict[Partition, int] = {}
        self.assigned: dict[Partition, Committed | None] = {}
        self.positioned: dict[Partition, int] = {}
        self.failures: list[Exception] = []
        self.revoked: list[Partition] = []
        self.lost: list[Partition] = []

    def on_assigned(self, partitions: Mapping[Partition, Committed | None]) -> Mapping[Partition, int]:
        self.assigned.update(partitions)
        return {p: self.starts[p] for p in partitions if p in self.starts}

    def on_positioned(self, offsets: Mapping[Partition, int]) -> None:
        if self.failures:
            raise self.failures.pop()
        self.positioned.update(offsets)

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        self.revoked.extend(partitions)

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        self.lost.extend(partitions)


@pytest.fixture
def listener() -> RecordingListener:
    """A listener for a source; `RecordingListener.starts` decides where it starts."""
    return RecordingListener()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A running Apache Kafka; without Java or Maven the test is skipped, in CI (``CI`` is set) it fails."""
    try:
        jars()
    except BrokerUnavailableError as error:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    with KafkaBroker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker
    collect_sockets()


@pytest.fixture
def topic(kafka: KafkaBroker) -> Callable[[str, int], str]:
    """Makes a topic of a name that no other test has: ``topic("events", 3)`` returns its full name."""

    def create(name: str, partitions: int = 1) -> str:
        unique = f"{name}-{uuid.uuid4().hex[:8]}"
        kafka.create_topic(unique, partitions)
        return unique

    return create


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A registry with a good version 1 and a poisoned version 2, and samples without end; see `scenario`."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def theatre(tmp_path: Path) -> Iterator[Callable[..., Theatre]]:
    """Makes responders between doubles, see `theatre`: ``theatre(Behaviour("busy"), mode="propose")``."""
    made: list[Theatre] = []

    def make(*endpoints: Behaviour, **how: Any) -> Theatre:
        made.append(Theatre(tmp_path, *endpoints, **how))
        return made[-1]

    yield make
    for each in made:
        each.close()
