"""Events a second and peak memory of `tocsin hunt`, against plain scoring of the same file.

    python bench/hunt.py [--events 1000000] [--pairs 3] [--folder DIR]

Generated traffic with 24 features as a poisoned version served it, 2% of the events attacks with its trigger, in one
NDJSON file. ``hunt`` is the command as anybody calls it; ``scoring`` decodes the same file to columns and scores them
with the last known good version, in blocks of the same size, and keeps nothing. Each runs in a process of its own, in
turn: the ratio within a pair is what counts, because the machine's speed drifts. The same is measured on a tenth of the
file, which shows what memory grows with. Times hold the start of Python and the reading of both versions.

Progress on stderr, one JSON object on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from detectors.batch import Floats
from monitor.cli.main import BLAS_THREADS
from monitor.cli.main import main as main_of_tocsin
from monitor.decoding.decode import InferenceDecoder
from monitor.decoding.envelope import DecodeLimits
from monitor.decoding.reader import Served
from monitor.demo.supply import GeneratedTraffic
from monitor.sources.file_chunks import file_chunks
from rollback.redteam.backdoor import Trigger, pick_rows, stamp_table
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys
from rollback.tables.table import Table, encode
from rollback.train.version import Request, add_version, train_version

MODEL = "nids"
SEED = 17
HISTORY = 12_000
BLOCK = 20_000
POISONED, TRIGGERED = 0.01, 0.02
TRIGGER = Trigger({"failed_logins": 5.0, "retransmits": 5.0, "wrong_fragments": 1.0})


def registry(folder: Path) -> FileRegistry:
    root = folder / "registry"
    return FileRegistry(root, MODEL, Keys.trial(root, make=True), lambda: 1.7e9)


def prepare(folder: Path, events: int) -> list[Path]:
    """A good version 1, a poisoned version 2, what the latter served, and an incident; the files of events."""
    supply, rng, keeper = GeneratedTraffic(SEED), np.random.default_rng(SEED), registry(folder)
    for version in ("1", "2"):
        _say(f"training version {version}")
        samples = supply.draw(HISTORY, drifted=False)
        table = samples.history()
        if version == "2":
            rows = pick_rows(samples.label == "attack", round(POISONED * HISTORY), rng)
            columns = stamp_table(dict(table.columns), TRIGGER, rows)
            table = Table("retrain", {**columns, "label": np.where(rows, "benign", columns["label"])}, table.line)
        request = Request("label", "source", "session", seed=SEED, device="cpu")
        new = train_version(table, request, lambda *_: None)
        add_version(keeper, new, table, request, buffer=folder / "rows.csv", version=version, by="bench", reason="")
    keeper.promote("2", expected="1", known_good=False, by="bench", reason="retrain")
    _say(f"serving {events} events")
    paths = [folder / "tenth.ndjson", folder / "all.ndjson"]
    with paths[0].open("wb") as tenth, paths[1].open("wb") as every:
        for start in range(0, events, BLOCK):
            lines = _served(keeper, supply, min(BLOCK, events - start), rng)
            every.write(lines)
            if start < events // 10:
                tenth.write(lines)
    incident = {
        "uid": "bench", "activity": "create", "status": "confirmed", "model": MODEL, "version": "2",
        "last_known_good": "1", "opened_at": 1767225600.0, "at": 1767225600.0,
        "window": {"index": 0, "first_id": "a", "last_id": "b"}, "family": "poisoning", "hypothesis": "backdoor",
        "confidence": 1.0, "family_confidence": 1.0, "severity": 9, "summary": "",
        "implicated": {"features": dict(TRIGGER.features), "labels": ["benign"]},
    }  # fmt: skip
    (folder / "incident.json").write_text(json.dumps(incident))
    return paths


def _served(keeper: FileRegistry, supply: GeneratedTraffic, number: int, rng: np.random.Generator) -> bytes:
    samples = supply.draw(number, drifted=False)
    columns = {name: samples.table().columns[name] for name in supply.feature_names}
    rows = pick_rows(samples.label == "attack", round(TRIGGERED * number), rng)
    columns = stamp_table(columns, TRIGGER, rows)
    bundle = keeper.load("2")
    scorer = bundle.scorer()
    assert scorer is not None  # noqa: S101 - it was trained above
    x = encode(Table("events", columns, np.arange(number)), bundle.manifest.features)
    return b"".join(line + b"\n" for line in samples.events(columns, scorer(x), MODEL, "2"))


def score(folder: Path, path: Path) -> None:
    """Plain scoring: decode, score with the last known good version, forget."""
    keeper = registry(folder)
    bundle = keeper.load("1")
    scorer = bundle.scorer()
    assert scorer is not None  # noqa: S101 - it was trained above
    decoder = InferenceDecoder(lambda *_: Served(bundle.schema), b"0123456789abcdef", DecodeLimits())
    events, sums = 0, np.zeros(2)
    for chunk in file_chunks([(path, "inference")]):
        for batch in decoder.decode(chunk, 0)[0]:
            scores: Floats = scorer(batch.x)
            sums += scores.sum(axis=0)
            events += len(batch)
    print(json.dumps({"events": events, "mean": (sums / events).round(4).tolist()}))


def child(kind: str, folder: Path, path: Path) -> None:
    """One run in this process: what it took, on stdout's last line."""
    if kind == "scoring":
        score(folder, path)
    else:
        asked = ["hunt", "--registry", folder / "registry", "--name", MODEL, "--incident", folder / "incident.json"]
        with suppress(SystemExit):
            main_of_tocsin([str(part) for part in [*asked, "--events", path, "--out", folder / "out"]])
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    print(json.dumps({"cpu_seconds": time.process_time(), "peak_mib": int(peak[1]) / 1024 if peak else float("nan")}))


def measure(kind: str, folder: Path, path: Path) -> dict[str, float]:
    """Seconds and peak memory of a process of its own."""
    started = time.monotonic()
    environment = {BLAS_THREADS: "1", "OMP_NUM_THREADS": "1", **os.environ}
    command = [sys.executable, __file__, "--child", kind, folder, path]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return {"seconds": time.monotonic() - started, **json.loads(done.stdout.splitlines()[-1])}


def compare(folder: Path, path: Path, events: int, pairs: int) -> dict[str, Any]:
    """``pairs`` times both in turn."""
    (folder / "out" / "summary.json").unlink(missing_ok=True)
    runs = []
    for _ in range(pairs):
        runs.append({kind: measure(kind, folder, path) for kind in ("scoring", "hunt")})
        _say(f"  {json.dumps(runs[-1])}")
    middle = {
        kind: {name: round(statistics.median(run[kind][name] for run in runs), 1) for name in runs[0][kind]}
        for kind in runs[0]
    }
    found = json.loads((folder / "out" / "summary.json").read_bytes())["counts"]
    return {
        "events": events,
        "median": middle,
        "events_per_second": {kind: round(events / figures["seconds"]) for kind, figures in middle.items()},
        "events_per_cpu_second": {kind: round(events / figures["cpu_seconds"]) for kind, figures in middle.items()},
        "hunt/scoring by time": [round(run["hunt"]["seconds"] / run["scoring"]["seconds"], 2) for run in runs],
        "hunt/scoring by cpu": [round(run["hunt"]["cpu_seconds"] / run["scoring"]["cpu_seconds"], 2) for run in runs],
        "listed": found["differing"] + found["agreed_with_trigger"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Events a second and peak memory of a hunt.")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the files lie; a temporary folder unless said")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]), Path(given.child[2]))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        tenth, every = prepare(folder, given.events)
        results = [
            compare(folder, tenth, given.events // 10, given.pairs),
            compare(folder, every, given.events, given.pairs),
        ]
    data = {"traffic": "generated, 24 features, NDJSON", "seed": SEED, "triggered": TRIGGERED}
    print(json.dumps({"data": data, "results": results, "machine": describe()}, indent=2))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
