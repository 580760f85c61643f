"""Events a second of the whole loop over a real Kafka, against a bare loop that only polls and decodes.

    python bench/throughput.py [--events N] [--pairs N]

All read the same lz4 topic with the same client and fetch settings, each time in a process of its own, in turn: the
ratio within a turn is what counts, because the machine's speed drifts. ``bare`` decodes each message with msgspec into
the loop's own envelope, in which features and scores are still text; ``full`` decodes those as well, into the published
struct, as any consumer does that looks at them; ``loop`` is what `tocsin run` assembles: default configuration, all
detectors, checkpoints and outputs on disk, broker commits. It is measured twice: while LKG serves, and while another
version does. The clock starts when the first messages are there and stops when all events are judged and the loop has
settled; connecting and fitting the detectors come before it, and fitting is reported apart.

Progress on stderr, one JSON object on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import throughput_run
from kafka import KafkaProducer
from kafka_broker import KafkaBroker
from machine import describe

from monitor.cli.main import BLAS_THREADS
from monitor.demo.supply import GeneratedTraffic, Samples
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys
from rollback.tables.table import Table, encode
from rollback.train.version import Request, add_version, train_version

MODEL = throughput_run.MODEL
SEED = 11
HISTORY = 12_000
BUSY = 50.0
"""How much faster than generated time passes, so that windows close by count, as they do where many events come."""
LOOPS = {"serving is LKG": "1", "serving is not LKG": "2"}


def prepare(folder: Path, broker: KafkaBroker, events: int) -> None:
    """Two versions trained on different samples, and one topic of events as each of them serves."""
    supply = GeneratedTraffic(SEED)
    registry = FileRegistry(folder / "registry", MODEL, Keys.trial(folder / "registry", make=True), time.time)
    for version in LOOPS.values():
        _say(f"training version {version}")
        table = supply.draw(HISTORY, drifted=False).table()
        request = Request(label="label", seed=SEED, device="cpu")
        new = train_version(table, request, lambda *_: None)
        add_version(registry, new, table, request, buffer=folder / "rows.csv", version=version, by="bench", reason="")
    samples = supply.draw(events, drifted=False)
    samples = replace(samples, ts=np.round(samples.ts[0] + (samples.ts - samples.ts[0]) / BUSY, 3))
    for version in LOOPS.values():
        _say(f"producing {events} events of version {version}")
        broker.create_topic(topic(version))
        _produce(broker, topic(version), served_events(registry, samples, version))


def topic(version: str) -> str:
    return f"events-{version}"


def served_events(registry: FileRegistry, samples: Samples, version: str) -> list[bytes]:
    """The samples as inference events that the version has classified."""
    bundle = registry.load(version)
    scorer = bundle.scorer()
    if scorer is None:
        raise ValueError(f"version {version} has no model")
    features = {name: samples.columns[name] for name in GeneratedTraffic.feature_names}
    x = encode(Table("events", features, np.arange(len(samples))), bundle.manifest.features)
    return samples.events(features, scorer(x), MODEL, version)


def _produce(broker: KafkaBroker, name: str, values: Sequence[bytes]) -> None:
    producer = KafkaProducer(
        bootstrap_servers=broker.bootstrap, compression_type="lz4", linger_ms=50, batch_size=256 * 1024, acks="all"
    )
    for value in values:
        producer.send(name, value)
    producer.flush()
    producer.close()


def measure(kind: str, folder: Path, broker: KafkaBroker, events: int, version: str, number: int) -> dict[str, float]:
    """One run in a process of its own."""
    asked = {
        "bootstrap": broker.bootstrap,
        "topic": topic(version),
        "version": version,
        "events": events,
        "run": f"{kind}-{version}-{number}",
    }
    command = [sys.executable, throughput_run.__file__, kind, folder, json.dumps(asked)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={BLAS_THREADS: "1", **os.environ})
    figures: dict[str, float] = json.loads(done.stdout)
    _say(f"  {kind:5} {' '.join(f'{name}={value:,.1f}' for name, value in figures.items())}")
    return figures


def compare(folder: Path, broker: KafkaBroker, events: int, pairs: int, version: str) -> dict[str, Any]:
    """``pairs`` times each kind in turn."""
    runs = [
        {kind: measure(kind, folder, broker, events, version, number) for kind in throughput_run.KINDS}
        for number in range(pairs)
    ]
    middle = {
        kind: {name: round(statistics.median(r[kind][name] for r in runs), 2) for name in runs[0][kind]}
        for kind in throughput_run.KINDS
    }
    return {**{f"loop/{kind}": _ratio(runs, kind) for kind in throughput_run.BARE}, "median": middle}


def _ratio(runs: Sequence[Mapping[str, Mapping[str, float]]], kind: str) -> dict[str, Any]:
    ratios = [r["loop"]["events_per_second"] / r[kind]["events_per_second"] for r in runs]
    cpu = [r[kind]["cpu_us_per_event"] / r["loop"]["cpu_us_per_event"] for r in runs]
    return {
        "each": [round(ratio, 3) for ratio in ratios],
        "median": round(statistics.median(ratios), 3),
        "worst": round(min(ratios), 3),
        "median_by_cpu_time": round(statistics.median(cpu), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Events a second of the whole loop against poll-and-decode alone.")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with KafkaBroker(folder / "kafka") as broker:
            prepare(folder, broker, given.events)
            results = {}
            for what, version in LOOPS.items():
                _say(what)
                results[what] = compare(folder, broker, given.events, given.pairs, version)
    data = {"traffic": "generated, 24 features, lz4", "seed": SEED, "events": given.events, "history": HISTORY}
    print(json.dumps({"data": data, "pairs": given.pairs, "results": results, "machine": describe()}, indent=2))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
