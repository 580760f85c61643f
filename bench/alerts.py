"""Whether a sink that hangs slows the loop: events a second with one and without, block by block in turn.

    python bench/alerts.py [--blocks 40] [--events 10000] [--every 10 1]

Two processes run the whole loop (default configuration, all detectors, checkpoints and outputs on disk) over the same
events in memory, and tell an incident every so many windows of 1,000 events: every 10, which is two to three a second
for a loop at its limit, and every single one, to see what an alert costs. One of them has a sink: a receiver that takes
connections for TLS and never says a word, so that every attempt hangs until its time is over, and the alerts go to the
spool. The processes take turns, a block of events each, now one first and now the other: what the machine does beside
falls on both. The ratio within a pair of blocks is what counts. A table on stdout.
"""

from __future__ import annotations

import argparse
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
from machine import describe
from prometheus_client import CollectorRegistry
from throughput import BUSY, HISTORY, MODEL, SEED, served_events

from monitor.alerts.courier import Clocks
from monitor.alerts.open_sinks import open_sinks
from monitor.alerts.samples import INCIDENT
from monitor.assemble import Surroundings, assemble
from monitor.daemon import open_configured
from monitor.demo.supply import GeneratedTraffic
from monitor.logging import set_up_logging
from monitor.loop import Loop, LoopSettings, Parts
from monitor.oracle import Elsewhere
from monitor.outlets import Tee
from monitor.response import NoResponse
from monitor.settings.config import Config, ModelConfig
from monitor.settings.sink_sections import SinkConfig
from monitor.sources.memory import MemoryLog, MemorySource
from monitor.state.checkpoint import CheckpointStore
from monitor.state.settlement import Checkpoints
from monitor.watching.alert_metrics import AlertMetrics
from monitor.watching.metrics import Metrics
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys
from rollback.train.version import Request, add_version, train_version

ARMS: Final = ("none", "hanging")
GOAL: Final = 0.98
VERSION: Final = "1"
HEADING: Final = """| windows an incident | pairs | events/s: without, with | ratio: median (95%) | by CPU | on disk |
|---|---|---|---|---|---|"""


def prepare(folder: Path, events: int) -> None:
    """A version, and a file of events that it has classified."""
    supply = GeneratedTraffic(SEED)
    registry = FileRegistry(folder / "registry", MODEL, Keys.trial(folder / "registry", make=True), time.time)
    table = supply.draw(HISTORY, drifted=False).table()
    request = Request(label="label", seed=SEED, device="cpu")
    new = train_version(table, request, lambda *_: None)
    add_version(registry, new, table, request, buffer=folder / "rows.csv", version=VERSION, by="bench", reason="")
    samples = supply.draw(events, drifted=False)
    samples = replace(samples, ts=np.round(samples.ts[0] + (samples.ts - samples.ts[0]) / BUSY, 3))
    (folder / "events").write_bytes(b"\n".join(served_events(registry, samples, VERSION)))


class Seconds(NamedTuple):
    """Of one block: by the clock, and of processors in all threads of the process."""

    wall: float
    cpu: float


class Arm:
    """A process that works off a block of events whenever it is told to."""

    def __init__(self, folder: Path, name: str, address: str, block: int) -> None:
        command = [sys.executable, __file__, "--arm", str(folder), name, address, str(block)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def block(self, every: int) -> Seconds:
        """What the next block took, with an incident at every so many windows."""
        return Seconds(*map(float, self._ask(str(every)).split()))

    def spooled(self) -> int:
        """Bytes that wait on disk."""
        return int(self._ask("spooled"))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _ask(self, what: str) -> str:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process was started without pipes")
        print(what, file=self._process.stdin, flush=True)
        return self._process.stdout.readline()


def work(folder: Path, name: str, address: str, block: int) -> None:
    """One arm's process: answers on stdout what it is asked on stdin."""
    state = folder / name
    config = Config(registry=folder / "registry", state_dir=state, models={MODEL: ModelConfig()})
    log = MemoryLog({"events": "inference"})
    log.extend("events", (folder / "events").read_bytes().split(b"\n"))
    clocks, metrics = Clocks(time.time, time.monotonic), AlertMetrics(CollectorRegistry())
    sink = SinkConfig(type="syslog_tls", address=address, alerts_per_minute=1e6, burst=1000)
    rng = random.Random(SEED)  # noqa: S311 - spreads attempts, guards nothing
    sinks = open_sinks({"siem": sink} if name == "hanging" else {}, state, metrics, clocks, rng, "1")
    outlets = Tee(sinks)
    with CheckpointStore(state / "checkpoints") as store:
        figures = Metrics(CollectorRegistry(), "bench", time.time)
        registries = {MODEL: open_configured(config, MODEL)}
        parts = assemble(config, Surroundings(registries, state, store, figures, NoResponse(), b"k" * 32, seed=0))
        parts.watches[MODEL].open()
        parts.watches[MODEL].versions(VERSION)
        saved = Checkpoints(store, parts.kept(), parts.outputs, figures.checkpointed)
        made = Parts(
            lambda listener: MemorySource(log, listener),
            parts.intake,
            parts.watches,
            parts.teller,
            saved,
            Elsewhere(),
            time.time,
        )
        loop, seen = Loop(made, LoopSettings(max_messages=1000, poll_seconds=0.0)), 0
        for asked in sys.stdin:
            if asked.strip() == "spooled":
                print(sum(path.stat().st_size for path in state.glob("spool/*/*.seg")), flush=True)
                continue
            until, started, busy = parts.intake.events + block, time.perf_counter(), time.process_time()
            while parts.intake.events < until:
                loop.turn()
                while seen < parts.teller.windows:
                    seen += 1
                    if seen % int(asked) == 0:
                        outlets.append(msgspec.json.encode(msgspec.structs.replace(INCIDENT, uid=f"{seen:032x}")))
            print(time.perf_counter() - started, time.process_time() - busy, flush=True)


def compare(arms: Sequence[Arm], blocks: int, every: int) -> list[tuple[Seconds, Seconds]]:
    """Without and with the sink, pair by pair; the first pair warms up."""
    pairs = []
    for number in range(blocks + 1):
        order = (0, 1) if number % 2 else (1, 0)
        seconds = {i: arms[i].block(every) for i in order}
        pairs.append((seconds[0], seconds[1]))
        print(f"  {number}: {seconds[0].wall:.3f} s, {seconds[1].wall:.3f} s", file=sys.stderr, flush=True)
    return pairs[1:]


def row(every: int, pairs: Sequence[tuple[Seconds, Seconds]], events: int, waiting: int) -> str:
    """Of the table; ratios are of events a second, with the sink over without."""
    wall = ratio([without.wall / hanging.wall for without, hanging in pairs])
    cpu = ratio([without.cpu / hanging.cpu for without, hanging in pairs])
    each = [f"{events / statistics.median(pair[i].wall for pair in pairs):,.0f}" for i in (0, 1)]
    return f"| {every} | {len(pairs)} | {', '.join(each)} | {wall} | {cpu} | {waiting / 1024:,.0f} KiB |"


def ratio(ratios: Sequence[float]) -> str:
    """The median, and its interval by resampling pairs."""
    rng = random.Random(SEED)  # noqa: S311 - a bootstrap that gives the same each time
    drawn = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    return f"{statistics.median(ratios):.3f} ({drawn[50]:.3f} to {drawn[1949]:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Events a second with a sink that hangs, against none.")
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--events", type=int, default=10_000, help="events of a block")
    parser.add_argument("--every", type=int, nargs="+", default=[10, 1], help="windows from one incident to the next")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        prepare(folder, given.events * (given.blocks + 1) * len(given.every))
        arms = [Arm(folder, each, address, given.events) for each in ARMS]
        for arm in arms:
            stack.callback(arm.close)
        print(HEADING)
        for every in given.every:
            pairs = compare(arms, given.blocks, every)
            print(row(every, pairs, given.events, arms[1].spooled()), flush=True)
    print(f"\nGoal: {GOAL}. {describe()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--arm"]:
        set_up_logging(sys.stderr, as_json=False, level=40)
        work(Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))
    else:
        main()
