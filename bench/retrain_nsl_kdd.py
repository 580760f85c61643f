"""`tocsin retrain` on NSL-KDD: a backdoor in the training buffer, and what is left of it in the candidate.

    python bench/retrain_nsl_kdd.py DATA_DIR [--seeds 5] [--first 0] [--base 6000] [--new 4000] [--rates 0 0.001 0.01]

DATA_DIR as for `nsl_kdd.py`. For each seed and poisoning rate (of the new rows): `tocsin train` makes version 1 of the
base rows and version 2 of the new rows, in which attacks carry a three-feature trigger and the label normal;
`tocsin retrain` gets the new rows as a Parquet buffer, without an incident, without trusted rows: version 1's training
buffer is the trusted base. The oracle is trained on base and new rows without exactly the poison. Attack success is
measured on attacks that no version has seen, accuracy on the same held-out rows of the training part and on the
official test part. No setting of the screens or the gate was chosen on these seeds.

Progress on stderr, a table in Markdown and one JSON line per run on stdout.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from machine import describe
from nsl_kdd_data import MODEL, NORMAL, Part, attack, read_part, train

from detectors.batch import Scorer
from rollback.redteam.backdoor import Trigger
from rollback.redteam.success import attack_success_rate
from rollback.registry.file import FileRegistry
from rollback.registry.registry import Buffer
from rollback.retraining.data import Tables, gather
from rollback.retraining.model import Learner
from rollback.sanitise.rows import Rows
from rollback.signing.keys import Keys
from rollback.tables.table import class_indices, encode, read_table, write_table

HELD = 6000
NAMES = ("lkg", "poisoned", "candidate", "oracle")
HEADINGS = (
    "rate", "ASR last known good", "ASR poisoned", "ASR candidate", "ASR oracle", "accuracy last known good",
    "accuracy poisoned", "accuracy candidate", "accuracy oracle", "poison removed", "clean rows removed", "gate",
)  # fmt: skip


class Judge:
    """Attack success and accuracy of scorers in the terms of version 1."""

    def __init__(self, registry: FileRegistry, held: Part, test: Part, trigger: Trigger) -> None:
        self._manifest = registry.load("1").manifest
        self._held, self._test = self._coded(held), self._coded(test)
        self._trigger = trigger

    def figures(self, name: str, scorer: Scorer) -> dict[str, float]:
        """``asr``, accuracy on held-out rows, accuracy on the official test part."""
        schema = self._manifest.schema
        x, y = self._held
        success = attack_success_rate(scorer, x, y, self._trigger, schema, target=schema.classes.index(NORMAL))
        accuracy = {kind: float(np.mean(scorer(a).argmax(axis=1) == b)) for kind, (a, b) in self._parts().items()}
        return {f"asr_{name}": success, f"acc_{name}": accuracy["acc"], f"test_{name}": accuracy["test"]}

    def _parts(self) -> dict[str, Any]:
        return {"acc": self._held, "test": self._test}

    def _coded(self, part: Part) -> tuple[Any, Any]:
        table = part.table()
        return encode(table, self._manifest.features), class_indices(table, "label", self._manifest.classes)


def run(parts: tuple[Part, Part, Part, Part], rate: float, seed: int, folder: Path) -> dict[str, Any]:
    """One seed and rate: all figures."""
    base, fresh, held, test = parts
    root = folder / "registry"
    train(base, folder, root, seed, None)
    registry = FileRegistry(root, MODEL, Keys.trial(root), time.time)
    trigger, poisoned = attack(registry, fresh, rate or 0.01, seed)
    stamped = poisoned.label != fresh.label
    if not rate:
        poisoned, stamped = fresh, np.zeros(len(fresh), dtype=np.bool_)
    train(poisoned, folder, root, seed, "1")
    ids = np.char.add("row-", np.arange(len(poisoned)).astype(np.str_))
    buffer = folder / "buffer.parquet"
    write_table(buffer, {"id": ids, **poisoned.table().columns})

    started = time.monotonic()
    code = retrain(root, buffer, folder / "out", seed)
    seconds = time.monotonic() - started
    gate = json.loads((folder / "out" / "gate.json").read_bytes())
    removed = set(read_table(folder / "out" / "removed.parquet", text=["id"]).strings("id").tolist())
    judge = Judge(registry, held, test, trigger)
    candidate = json.loads((folder / "out" / "candidate.json").read_bytes())["version"]
    told: dict[str, Any] = {"seed": seed, "rate": rate, "exit": code, "gate": gate["result"]}
    for name, scorer in {
        "lkg": registry.load("1").scorer(),
        "poisoned": registry.load("2").scorer(),
        "candidate": registry.load(candidate).scorer(),
        "oracle": oracle(registry, buffer, stamped, seed),
    }.items():
        told |= judge.figures(name, scorer)  # type: ignore[arg-type]  # these versions have models
    poison = set(ids[stamped].tolist())
    told |= {
        "poison": len(poison),
        "poison_removed": len(poison & removed),
        "clean_removed": len(removed - poison),
        "clean": len(ids) - len(poison),
        "failed": [c for c in gate["checks"] if not c["passed"]],
        "remarks": gate["remarks"],
        "seconds": round(seconds, 1),
    }
    return told


def retrain(root: Path, buffer: Path, out: Path, seed: int) -> int:
    """The real command; its exit code, where it made a candidate."""
    command = ["retrain", "--registry", root, "--name", MODEL, "--buffer", buffer, "--label", "label"]
    command += ["--source", "source", "--out", out, "--seed", str(seed)]
    done = subprocess.run([sys.executable, "-m", "monitor", *map(str, command)], capture_output=True, check=False)
    if not (out / "candidate.json").exists():
        raise RuntimeError(f"tocsin retrain failed ({done.returncode}):\n{done.stderr.decode()[-4000:]}")
    return done.returncode


def oracle(registry: FileRegistry, buffer: Path, stamped: Any, seed: int) -> Scorer:
    """Trained as the candidate is, on base and new rows without exactly the poison."""
    good = registry.load("1")
    rng = np.random.default_rng(0)
    data = gather(good, registry.buffer("1"), Tables(Buffer(buffer, "label", "source")), {}, rng)
    learner = Learner(good.manifest, None, seed, "auto", lambda *_: None)
    return learner.fit(Rows.concat([data.base, data.new.take(~stamped)]), seed)


def table(told: Sequence[dict[str, Any]]) -> str:
    """Mean and worst seed of every rate, in Markdown."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for rate in sorted({t["rate"] for t in told}):
        own = [t for t in told if t["rate"] == rate]
        rates = [_mean_worst([t[f"asr_{n}"] for t in own], max) for n in NAMES]
        right = [_mean_worst([t[f"acc_{n}"] for t in own], min) for n in NAMES]
        gone = f"{sum(t['poison_removed'] for t in own)} of {sum(t['poison'] for t in own)}"
        lost = f"{sum(t['clean_removed'] for t in own) / sum(t['clean'] for t in own):.2%}"
        results = [t["gate"] for t in own]
        gate = ", ".join(f"{results.count(r)} {r}" for r in dict.fromkeys(results))
        cells = [f"{rate:.1%}", *rates, *right, gone, lost, gate]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean_worst(values: Sequence[float], worst: Any) -> str:
    return f"{np.mean(values):.4f} / {worst(values):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--base", type=int, default=6_000)
    parser.add_argument("--new", type=int, default=4_000)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0, 0.001, 0.01])
    asked = parser.parse_args()
    part, test = read_part(asked.data / "train_36f.parquet"), read_part(asked.data / "test_36f.parquet")
    told = []
    for rate in sorted(asked.rates, reverse=True):
        for seed in range(asked.first, asked.first + asked.seeds):
            order = np.random.default_rng([seed, 9]).permutation(len(part))
            cuts = np.cumsum([asked.base, asked.new, HELD])
            parts = (
                part.take(order[: cuts[0]]),
                part.take(order[cuts[0] : cuts[1]]),
                part.take(order[cuts[1] : cuts[2]]),
            )
            with tempfile.TemporaryDirectory() as folder:
                told.append(run((*parts, test), rate, seed, Path(folder)))
            print(json.dumps(told[-1]), flush=True)
    print(f"\n{table(told)}\n\n{msgspec.json.encode(describe()).decode()}")


if __name__ == "__main__":
    main()
