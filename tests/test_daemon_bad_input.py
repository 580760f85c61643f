"""What `tocsin run` makes of bad messages, missing topics, broken registries and two of a kind, over a real Kafka."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from daemon_process import Daemon, Labeller, records, send, wait_until, write_config
from kafka import KafkaConsumer
from kafka_broker import KafkaBroker, free_ports
from scenario import NAME, World

from monitor.demo.supply import GeneratedTraffic, Samples

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROLES = ("feedback", "trusted", "vetting")


class Place:
    """A folder, topics, and daemons that read them."""

    def __init__(self, folder: Path, kafka: KafkaBroker, name: str, registry: Path) -> None:
        self.folder = folder
        self.bootstrap = kafka.bootstrap
        self.name = name
        self.registry = registry
        self._kafka = kafka
        self._daemons: list[Daemon] = []

    def topics(self, *roles: str) -> None:
        for role in roles:
            self._kafka.create_topic(f"{self.name}.{role}")

    def daemon(self, folder: str = "first", *more: str, **changes: Any) -> Daemon:
        config = write_config(self.folder / folder, self.registry, self.bootstrap, self.name, **changes)
        self._daemons.append(Daemon(config, *more))
        return self._daemons[-1]

    def send(self, values: list[bytes], role: str = "") -> None:
        send(self.bootstrap, f"{self.name}.{role}" if role else self.name, values)

    def close(self) -> None:
        for daemon in self._daemons:
            daemon.__exit__()


@pytest.fixture
def place(kafka: KafkaBroker, topic: Callable[..., str], world: World, tmp_path: Path) -> Iterator[Place]:
    registry = tmp_path / "registry"
    shutil.copytree(world.root / "registry", registry, symlinks=True)
    made = Place(tmp_path, kafka, topic("bad"), registry)
    made.topics(*ROLES)
    yield made
    made.close()


@pytest.fixture(scope="module")
def samples() -> Samples:
    return GeneratedTraffic(13).draw(1000, drifted=False)


@pytest.fixture(scope="module")
def events(world: World, samples: Samples) -> list[bytes]:
    return world.served("1", samples)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_what_cannot_be_read_is_counted_and_put_aside_and_figures_are_there_meanwhile(
    place: Place, events: list[bytes]
) -> None:
    daemon = place.daemon().start()
    place.send([events[0], events[1][:-40], b"", *events[2:400]])
    wait_until(lambda: daemon.counted() == 200, "a window")
    assert [(r["offset"], r["reason"]) for r in records(daemon.state / "quarantine.ndjson")] == [
        (1, "bad_json"),
        (2, "empty"),
    ]
    assert daemon.get("/healthz") == (200, "ok\n")
    wait_until(lambda: daemon.get("/readyz") == (200, "ok\n"), "readiness")
    assert daemon.metric("tocsin_quarantined_total") == 2
    assert daemon.metric("tocsin_events_total") == 399
    assert daemon.get("/elsewhere")[0] == 404
    assert daemon.stop() == 0


def test_a_message_of_50_megabytes_is_put_aside(place: Place, kafka: KafkaBroker, events: list[bytes]) -> None:
    place.name = f"{place.name}.large"
    kafka.create_topic(place.name, config={"max.message.bytes": str(60 * 2**20)})
    place.topics(*ROLES)
    daemon = place.daemon().start()
    place.send(events[:100])
    wait_until(lambda: daemon.says('"listening"') and daemon.metric("tocsin_events_total") == 100, "the first events")
    before = resident(daemon)
    place.send([b'{"id": "' + b"x" * (50 * 2**20) + b'"}', *events[100:200]])
    wait_until(lambda: daemon.counted() == 200, "a window")
    (line,) = records(daemon.state / "quarantine.ndjson")
    assert (line["offset"], line["reason"]) == (100, "too_large")
    assert len(json.dumps(line)) < 10_000
    assert resident(daemon) - before < 400
    assert daemon.stop() == 0


def resident(daemon: Daemon) -> float:
    """The most memory it has held so far, in MiB."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="utf-8")
    return next(float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def test_topics_that_are_missing_are_waited_for(place: Place, kafka: KafkaBroker, events: list[bytes]) -> None:
    place.name = f"{place.name}.later"
    daemon = place.daemon().start()
    said = daemon.says("kafka_topic_missing")
    assert place.name in said
    assert daemon.get("/healthz")[0] == 200
    assert daemon.get("/readyz") == (503, "the source has assigned nothing to read yet\n")
    kafka.create_topic(place.name)
    place.send(events[:200])
    wait_until(lambda: daemon.counted() == 200, "a window")
    assert daemon.stop() == 0


def test_a_broker_that_is_away_is_asked_again_until_told_to_stop(place: Place) -> None:
    (port,) = free_ports(1)
    place.bootstrap = f"127.0.0.1:{port}"
    daemon = place.daemon().start()
    said = daemon.says("kafka_unreachable")
    assert f"127.0.0.1:{port}" in said
    wait_until(lambda: daemon.log().count("kafka_unreachable") >= 3, "more tries")
    assert daemon.get("/healthz")[0] == 200
    assert daemon.get("/readyz")[0] == 503
    assert daemon.metric("tocsin_source_errors_total") >= 3
    before = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - before < 5


def test_a_broker_that_goes_away_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, topic: Callable[..., str], world: World, events: list[bytes]
) -> None:
    with KafkaBroker(tmp_path / "kafka") as broker:
        for name in ("e", "e.feedback", "e.trusted", "e.vetting"):
            broker.create_topic(name)
        send(broker.bootstrap, "e", events[:300])
        with Daemon(write_config(tmp_path, world.root / "registry", broker.bootstrap, "e")).start() as daemon:
            wait_until(lambda: daemon.counted() == 200, "a window")
            broker.kill()
            daemon.says("kafka_unreachable", 120)
            broker.start()
            send(broker.bootstrap, "e", events[300:600])
            wait_until(lambda: daemon.counted() == 600, "all windows")
            assert daemon.held() == list(range(600))
            broker.kill()
            before = time.monotonic()
            assert daemon.stop(60) == 0
            assert time.monotonic() - before < 30


def test_a_registry_that_cannot_be_read_stops_the_start(place: Place) -> None:
    history = place.registry / NAME / "history.ndjson"
    history.write_bytes(b"no entry\n" + history.read_bytes())
    daemon = place.daemon().start()
    assert daemon.wait() == 1
    assert daemon.log().splitlines()[-1].startswith(f"tocsin: {history}: line 1: is no entry of a history")


def test_a_registry_that_goes_away_ends_the_watch_and_nothing_is_lost(place: Place, events: list[bytes]) -> None:
    daemon = place.daemon().start()
    place.send(events[:250])
    wait_until(lambda: daemon.counted() == 200, "a window")
    away = place.registry / "away"
    (place.registry / NAME).rename(away)
    place.send(events[250:500])
    assert daemon.wait() == 1
    assert f"tocsin: {NAME}: no usable last known good version" in daemon.log().splitlines()[-1]
    away.rename(place.registry / NAME)
    daemon.start()
    wait_until(lambda: daemon.counted() == 400, "the second window")
    assert daemon.stop() == 0
    assert daemon.held() == list(range(400))


def test_a_changed_byte_in_the_last_known_good_bundle_stops_the_start(place: Place) -> None:
    model = place.registry / NAME / "1" / "model.onnx"
    flip_byte(model)
    daemon = place.daemon().start()
    assert daemon.wait() == 1
    assert f"{model}: changed since it was signed" in daemon.log().splitlines()[-1]


def test_a_changed_byte_in_another_bundle_is_told_by_the_verdict_and_the_watch_goes_on(
    place: Place, world: World, samples: Samples
) -> None:
    flip_byte(place.registry / NAME / "2" / "model.onnx")
    daemon = place.daemon().start()
    place.send(world.served("2", samples)[:400])
    wait_until(lambda: daemon.counted() == 400, "two windows")
    for window in daemon.windows():
        assert window["version"] == "2"
        assert window["verdict"]["family"] == "inconclusive"
        assert "fails verification" in " ".join(window["verdict"]["reasons"])
    (incident,) = daemon.incidents()
    assert "model.onnx: changed since it was signed" in incident["summary"]
    wait_until(lambda: daemon.get("/readyz")[0] == 200, "readiness, which a slow turn interrupts")
    assert daemon.stop() == 0


def test_a_typo_in_the_configuration_is_named_with_what_was_meant(place: Place) -> None:
    daemon = place.daemon(model={"window_event": 100}).start()
    assert daemon.wait() == 78
    assert f"models.{NAME}.window_event: unknown; did you mean window_events?" in daemon.log()


def test_a_trusted_origin_on_the_open_topic_is_counted_and_not_believed(
    place: Place, events: list[bytes], samples: Samples
) -> None:
    daemon = place.daemon().start()
    place.send(events[:200])
    wait_until(lambda: daemon.counted() == 200, "a window")
    claims = [
        msgspec.json.encode({"id": i, "ts": 1.8e9, "label": "attack", "origin": "sandbox"})
        for i in samples.id[:50].tolist()
    ]
    place.send(claims, "feedback")
    wait_until(lambda: daemon.metric("tocsin_claimed_trust_total") == 50, "the claims")
    place.send(events[200:400])
    wait_until(lambda: daemon.counted() == 400, "a window")
    lines = daemon.get("/metrics")[1].splitlines()
    joined = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if "tocsin_labels_total{" in line}
    assert joined[f'tocsin_labels_total{{model="{NAME}",outcome="joined",trust="untrusted"}}'] == 50
    assert joined[f'tocsin_labels_total{{model="{NAME}",outcome="joined",trust="trusted"}}'] == 0
    assert daemon.stop() == 0


def test_a_second_daemon_on_the_same_state_is_refused(place: Place) -> None:
    first = place.daemon().start()
    first.says("listening")
    second = Daemon(place.folder / "first" / "tocsin.yaml").start()
    assert second.wait() == 1
    assert f"is in use by another process (pid {first.process.pid})" in second.log()
    assert first.process.poll() is None


def test_a_second_member_of_the_group_is_refused(place: Place, events: list[bytes]) -> None:
    alone: dict[str, Any] = {"kafka": {"group_instance_id": None}}
    first = place.daemon("first", **alone).start()
    place.send(events[:200])
    wait_until(lambda: first.counted() == 200, "a window")
    second = place.daemon("second", **alone).start()
    assert second.wait() == 1
    assert f"consumer group {place.name} " in second.log().splitlines()[-1]
    assert "has another member" in second.log().splitlines()[-1]
    place.send(events[200:400])
    wait_until(lambda: first.counted() == 400, "the next window")
    assert first.stop() == 0


def test_who_joins_the_group_later_ends_the_watch_loudly(place: Place) -> None:
    daemon = place.daemon().start()
    wait_until(lambda: daemon.says("listening") and daemon.get("/readyz")[0] == 200, "readiness")
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor  # noqa: PLC0415 - one test

    stranger = KafkaConsumer(
        place.name,
        bootstrap_servers=place.bootstrap,
        group_id=place.name,
        partition_assignment_strategy=[CooperativeStickyAssignor],
    )
    wait_until(lambda: stranger.poll(200) or daemon.process.poll() is not None, "the end")
    stranger.close()
    assert daemon.wait() == 1
    assert "has another member" in daemon.log().splitlines()[-1]


@pytest.mark.parametrize("closed", ["by the reader", "from the start"])
def test_a_stdout_that_nobody_reads_does_not_end_the_watch(
    place: Place, world: World, samples: Samples, closed: str
) -> None:
    flip_byte(place.registry / NAME / "2" / "model.onnx")  # so that there is an incident to tell of
    daemon = place.daemon()
    if closed == "from the start":
        daemon.without_stdout()
    reading, writing = os.pipe()
    daemon.start(stdout=writing)
    os.close(writing)
    os.close(reading)
    place.send(world.served("2", samples)[:200])
    wait_until(daemon.incidents, "an incident")
    daemon.says("nobody reads it any more" if closed == "by the reader" else "there is no stdout")
    place.send(world.served("2", samples)[200:400])
    wait_until(lambda: daemon.counted() == 400, "another window")
    assert daemon.metric("tocsin_lines_dropped_total") == (1 if closed == "by the reader" else 0)
    assert daemon.stop() == 0


def test_incidents_come_out_on_stdout(place: Place, world: World, samples: Samples) -> None:
    flip_byte(place.registry / NAME / "2" / "model.onnx")
    daemon = place.daemon().start(stdout=subprocess.PIPE)
    place.send(world.served("2", samples)[:200])
    wait_until(daemon.incidents, "an incident")
    assert daemon.process.stdout is not None
    with daemon.process.stdout as stdout:
        assert [json.loads(stdout.readline())] == daemon.incidents()
        assert daemon.stop() == 0


def test_an_incident_is_closed_by_hand_while_the_daemon_runs_and_stays_closed_after_a_restart(
    place: Place, world: World, samples: Samples
) -> None:
    flip_byte(place.registry / NAME / "2" / "model.onnx")
    daemon = place.daemon().start()
    events = world.served("2", samples)
    place.send(events[:200])
    wait_until(daemon.incidents, "an incident")
    config = ("--config", place.folder / "first" / "tocsin.yaml")
    done = tocsin("incidents", "close", daemon.incidents()[0]["uid"], *config, "--reason", "we know", "--by", "ada")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: len(daemon.incidents()) == 2, "the close")
    opened, closed = daemon.incidents()
    assert (closed["uid"], closed["activity"], closed["close_reason"]) == (opened["uid"], "close", "we know")
    place.send(events[200:400])
    wait_until(lambda: daemon.counted() == 400, "another window")
    daemon.kill()
    daemon.start()
    place.send(events[400:600])
    wait_until(lambda: daemon.counted() == 600, "all windows after the restart")
    assert {(i["uid"], i["activity"]) for i in daemon.incidents()} == {(opened["uid"], a) for a in ("create", "close")}
    assert daemon.stop() == 0
    told = tocsin("incidents", "explain", opened["uid"], *config).stdout
    assert "incident_closed" in told
    assert "we know" in told


def tocsin(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monitor", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fed(place: Place, daemon: Daemon, events: list[bytes]) -> Iterator[int]:
    """One window after the other; gives the number of events that are in windows."""
    for start in range(0, len(events), 200):
        place.send(events[start : start + 200])
        wait_until(partial(_counts, daemon, start + 200), "a window")
        yield start + 200


def _counts(daemon: Daemon, events: int) -> bool:
    return daemon.counted() == events


def test_requests_are_listed_published_and_answered(place: Place, world: World) -> None:
    """`tocsin vet` against the daemon's state, topics and queues; all answers after the first come from a labeller."""
    mine = World(world.root, world.registry, GeneratedTraffic(17), np.random.default_rng(17))
    attacked = mine.draw(4000)
    config = ("--config", place.folder / "first" / "tocsin.yaml")
    brokers = {"bootstrap_servers": [place.bootstrap]}
    place.topics("questions")
    queues = {
        "topic": {"type": "kafka", "gets": "vetting", "topic": f"{place.name}.questions", "kafka": brokers},
        "file": {"type": "file", "gets": "vetting", "path": "questions.ndjson"},
    }
    daemon = place.daemon(sinks=queues).start()
    feeding = fed(place, daemon, mine.served("2", attacked, triggered=0.03))
    while not (asked := records(daemon.state / "vetting.ndjson")):
        next(feeding)
    wait_until(lambda: json.loads(tocsin("vet", "list", *config, "--json").stdout), "requests")
    listed = json.loads(tocsin("vet", "list", *config, "--json").stdout)
    asked = records(daemon.state / "vetting.ndjson")  # all of them: the first look may have come while it was written
    assert [r["id"] for r in listed] == [r["id"] for r in asked]
    for role in ("vetting", "questions"):
        consumer = KafkaConsumer(
            f"{place.name}.{role}",
            bootstrap_servers=place.bootstrap,
            auto_offset_reset="earliest",
            consumer_timeout_ms=20000,
        )
        assert [msgspec.json.decode(next(consumer).value)["id"] for _ in asked] == [r["id"] for r in asked]
        consumer.close()
    questions = place.folder / "first" / "questions.ndjson"
    wait_until(lambda: len(records(questions)) >= len(asked), "the questions in the file")
    assert [r["id"] for r in records(questions)][: len(asked)] == [r["id"] for r in asked]
    ident = asked[0]["id"]
    said = tocsin("vet", "label", *config, "--id", ident, "--label", "nonsense")
    assert (said.returncode, "is no class of the model" in said.stderr) == (1, True)
    said = tocsin("vet", "label", *config, "--id", "nobody", "--label", "attack")
    assert (said.returncode, "no open request" in said.stderr) == (1, True)
    said = tocsin("vet", "label", *config, "--id", ident, "--label", "attack", "--origin", "stranger")
    assert (said.returncode, "is no trusted origin" in said.stderr) == (1, True)
    said = tocsin("vet", "label", *config, "--id", ident, "--label", "attack")
    assert (said.returncode, said.stdout) == (0, f"{ident} is attack, says sandbox (written to {place.name}.trusted)\n")
    truth = world.taught | dict(zip(attacked.id.tolist(), attacked.label.tolist(), strict=True))
    with Labeller(daemon.state, place.bootstrap, f"{place.name}.trusted", truth):
        while daemon.incidents()[-1]["family"] != "poisoning":
            time.sleep(0.5)  # for the answers
            next(feeding)
    assert daemon.incidents()[-1]["hypothesis"] == "backdoor"
    assert daemon.metric("tocsin_vetting_total") >= 2
    wait_until(lambda: daemon.get("/readyz") == (200, "ok\n"), "readiness")
    assert daemon.stop() == 0
