"""The receiver is down while incidents arrive and the process is killed: in the end the receiver has all of them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import alerting_process
import pytest
from alert_lines import line
from daemon_process import wait_until
from prometheus_client import CollectorRegistry
from rsyslog import Rsyslog

from monitor.alerts.courier import Clocks
from monitor.alerts.open_sinks import open_sinks
from monitor.alerts.spool import Spool
from monitor.line_queue import WAITING
from monitor.settings.sink_sections import SinkConfig
from monitor.watching.alert_metrics import AlertMetrics

INCIDENTS = 1000


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Rsyslog]:
    """It is down."""
    down = Rsyslog(tmp_path / "rsyslog")
    yield down
    down.stop()


@contextmanager
def teller(state: Path, port: int, pause: float = 0.0) -> Iterator[subprocess.Popen[bytes]]:
    """A process that tells incidents; it is killed in the end, as a crash would."""
    state.mkdir(exist_ok=True)
    command = [sys.executable, alerting_process.__file__, str(state), f"127.0.0.1:{port}", str(INCIDENTS), str(pause)]
    here = os.pathsep.join(path for path in sys.path if path)
    with (state / "log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log, env={**os.environ, "PYTHONPATH": here})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def told(state: Path) -> int:
    """How many incidents are behind the newest checkpoint."""
    path = state / "checkpoint.json"
    return int(json.loads(path.read_bytes())[0]) if path.exists() else 0


def tell_until(state: Path, port: int, number: int, pause: float = 0.0) -> None:
    """Let a process tell so many, and kill it."""
    with teller(state, port, pause) as process:

        def reached() -> bool:
            assert process.poll() is None, (state / "log").read_text()
            return told(state) >= number

        wait_until(reached, f"{number} incidents", 20)


def alert_ids(receiver: Rsyslog) -> list[str]:
    """As an analyst's search would drop repeats: by the id in the structured data."""
    return [text.split('alert="', 1)[1].split('"', 1)[0] for text in receiver.lines()]


@pytest.mark.parametrize("pause", [0.0, 0.002], ids=["all at once", "one by one"])
def test_an_outage_and_two_crashes_lose_nothing(receiver: Rsyslog, tmp_path: Path, pause: float) -> None:
    state = tmp_path / "state"
    tell_until(state, receiver.port, INCIDENTS // 3, pause)
    tell_until(state, receiver.port, INCIDENTS * 2 // 3, pause)
    with teller(state, receiver.port, pause):
        wait_until(lambda: told(state) == INCIDENTS, "all incidents", 20)
        receiver.start()
        wait_until(lambda: len(set(alert_ids(receiver))) == INCIDENTS, "all alerts", 20)
    uids = [json.loads(text[text.index("] {") + 2 :])["finding_info"]["uid"] for text in receiver.lines()]
    assert {int(uid, 16) for uid in uids} == set(range(INCIDENTS))
    assert len(uids) < INCIDENTS * 1.2


def test_crashes_while_it_is_made_up_for_lose_nothing(receiver: Rsyslog, tmp_path: Path) -> None:
    state = tmp_path / "state"
    tell_until(state, receiver.port, INCIDENTS)
    receiver.start()
    for share in (0.2, 0.6):
        with teller(state, receiver.port):
            wanted = INCIDENTS * share
            wait_until(lambda wanted=wanted: len(set(alert_ids(receiver))) > wanted, "some alerts", 20)
    with teller(state, receiver.port):
        wait_until(lambda: len(set(alert_ids(receiver))) == INCIDENTS, "all alerts", 20)


def test_whatever_waited_in_memory_when_it_was_killed_is_offered_again_however_long_its_lines(tmp_path: Path) -> None:
    sinks = {"siem": SinkConfig(type="file", path=tmp_path / "alerts.ndjson", format="incident", burst=2 * WAITING)}
    state = tmp_path / "state"

    def start() -> None:
        metrics, clocks = AlertMetrics(CollectorRegistry()), Clocks(time.time, time.monotonic)
        (delivery,) = open_sinks(sinks, state, metrics, clocks, random.SystemRandom(), "1")
        delivery.close(20)

    start()
    # told, and in the file of the incidents, when the process died; the spool had none of them
    lines = [line(number, summary="x" * 5000) + b"\n" for number in range(WAITING)]
    (state / "incidents.ndjson").write_bytes(b"".join(lines))
    start()
    waiting = Spool(state / "spool" / "siem", 1 << 26)
    assert len(waiting) + len((tmp_path / "alerts.ndjson").read_bytes().splitlines()) == WAITING
