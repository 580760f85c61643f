"""Trust-weighted learning, with and without: what weights by reputation change, after screens and in place of them.

    python bench/trust.py [--seeds 5] [--base 1000] [--new 1000] [--inits 3]

Generated traffic (`monitor.demo`). Version 1 is trained on trusted rows; the new rows are poisoned by one of the
sources: a backdoor of three features (attacks that carry it are labelled benign; 2% of the rows), or flips (a third of
the source's attacks are labelled benign). Of that source one audited decision is known, made an event-time month
before: eight rejected sessions; of two others one that accepted eight; nothing of the rest. ``oracle`` is trained
without exactly the poison. Error is that of attacks: with the trigger (backdoor), or of that source's kind (flips).
Each figure is the mean over initialisations; a table in Markdown on stdout, progress on stderr.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from detectors.batch import Bools, Floats, Scorer
from monitor.demo.flows import table
from monitor.demo.traffic import TrafficConfig, generate
from rollback.redteam.backdoor import Trigger, pick_rows, stamp_table
from rollback.redteam.success import attack_success_rate
from rollback.reference import reference_rows
from rollback.registry.memory import MemoryRegistry
from rollback.registry.registry import Buffer
from rollback.retraining.data import Data, Tables, gather
from rollback.retraining.model import Learner
from rollback.sanitise.rows import Rows, Sanitised
from rollback.sanitise.sanitise import sanitise
from rollback.signing.keys import Keys, new_signing_key
from rollback.tables.table import Table, write_table
from rollback.train.version import Request, train_version
from rollback.trust.reputation import DAY, Outcome, Reputation
from rollback.trust.weights import weigh

TRIGGER = Trigger({"failed_logins": 5.0, "retransmits": 5.0, "wrong_fragments": 1.0})
REQUEST = Request("label", "source", "session", ignore=("id", "ts"), device="cpu")
ATTACKS = ("none", "backdoor", "flips")
ARMS = ("oracle", "all", "all, weighted", "screened", "screened, weighted")


def silent(*_: object) -> None:
    """Nothing is told."""


def flows(rows: int, seed: int) -> Table:
    made = generate(TrafficConfig(), np.random.default_rng(seed), rows, 1.7e9)
    return Table("flows", table(made), np.arange(rows) + 2)


def poisoned(data: Table, attack: str, seed: int) -> tuple[dict[str, Any], Bools, str]:
    """The columns with poison of one source, which rows those are, and the source."""
    rng = np.random.default_rng([seed, 1])
    source, attacks = data.strings("source"), data.strings("label") == "attack"
    names, counts = np.unique(source[attacks], return_counts=True)
    bad = str(names[np.argsort(-counts)[1]])
    columns = dict(data.columns)
    rows = np.zeros(len(data), np.bool_)
    if attack == "backdoor":
        rows = pick_rows(attacks, round(0.02 * len(data)), rng)
        columns = {**stamp_table(columns, TRIGGER, rows), "source": np.where(rows, bad, source)}
    elif attack == "flips":
        own = attacks & (source == bad)
        rows = pick_rows(own, int(own.sum()) // 3, rng)
    return {**columns, "label": np.where(rows, "benign", columns["label"])}, rows, bad


def known(data: Data, bad: str) -> Reputation:
    """One audited decision about the poisoning source, and one about each of two others, a month ago."""
    others = [name for name in np.unique(data.new.source).tolist() if name != bad][:2]
    at = float(np.nanmax(data.new_about.ts)) - 30 * DAY
    told = [Outcome("source", bad, at, 0, 8, "1", "rejected")]
    return Reputation((*told, *(Outcome("source", name, at, 8, 0, name, "accepted") for name in others)))


def nothing(data: Data) -> Sanitised:
    n = len(data.new)
    blank = np.full(n, "")
    return Sanitised(np.zeros(n, np.bool_), blank, blank, np.full(n, np.nan), np.ones(n), (), {}, ())


class Bench:
    """One seed: version 1, and what is trained on its base together with new rows."""

    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        registry = MemoryRegistry("m", Keys.of(new_signing_key()), lambda: 0.0)
        data = flows(options.base, 100 + seed)
        made = train_version(data, replace(REQUEST, seed=seed), silent)
        self._base = {name: column[made.learned] for name, column in data.columns.items()}
        self._lkg = registry.add(made.draft, made.files, by="bench", reason="first")
        self._learner = Learner(self._lkg.manifest, None, seed, "cpu", silent)
        self._options, self._seed = options, seed
        self._test = flows(4000, 900 + seed)

    def run(self, attack: str) -> dict[str, dict[str, float]]:
        """The figures of each arm."""
        columns, poison, bad = poisoned(flows(self._options.new, 500 + self._seed), attack, self._seed)
        with tempfile.TemporaryDirectory() as folder:
            base, new = (Buffer(Path(folder) / f"{name}.csv", "label", "source", "session") for name in ("base", "new"))
            write_table(base.path, self._base)
            write_table(new.path, columns)
            data = gather(self._lkg, base, Tables(new), (), np.random.default_rng(0))
        found = sanitise(data.base, data.new, self._learner.fit, seed=self._seed, hint=None, progress=silent)
        ids = set(np.asarray(columns["id"])[poison].tolist())
        bare = nothing(data)
        clean = replace(bare, removed=np.isin(data.new_id, list(ids)))
        reputation = known(data, bad)
        arms = {
            "oracle": clean,
            "all": bare,
            "all, weighted": weigh(bare, data.base, data.new, data.new_about, reputation)[0],
            "screened": found,
            "screened, weighted": weigh(found, data.base, data.new, data.new_about, reputation)[0],
        }
        return {name: self._judged(data, arm, attack) for name, arm in arms.items()}

    def _judged(self, data: Data, found: Sanitised, attack: str) -> dict[str, float]:
        kept = ~found.removed
        rows = Rows.concat([data.base, data.new.take(kept)])
        weight: Floats = np.concatenate([np.ones(len(data.base)), found.weight[kept]])
        made = [
            self._learner.scorer(self._learner.train(rows, weight, 1000 * self._seed + i))
            for i in range(self._options.inits)
        ]
        figures = [self._figures(scorer, data, attack) for scorer in made]
        return {name: float(np.mean([each[name] for each in figures])) for name in figures[0]}

    def _figures(self, scorer: Scorer, data: Data, attack: str) -> dict[str, float]:
        schema, features = data.schema, self._lkg.manifest.features
        test = reference_rows(self._test, features, schema.classes, label="label", source="source")
        said, benign = np.argmax(scorer(test.x), axis=1), schema.classes.index("benign")
        wrong = float(np.mean(said[test.y != benign] == benign))
        if attack == "backdoor":
            wrong = attack_success_rate(scorer, test.x, test.y, TRIGGER, schema, target=benign)
        return {"attack error": wrong, "accuracy": float(np.mean(said == test.y))}


def main() -> None:
    """Every attack and seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (("seeds", 5), ("base", 1000), ("new", 1000), ("inits", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    started = time.monotonic()
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for seed in range(options.seeds):
        bench = Bench(options, seed)
        for attack in ATTACKS:
            for arm, figures in bench.run(attack).items():
                found.setdefault((attack, arm), []).append(figures)
            print(f"seed {seed}, {attack}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    lines = ["| poison | trained on | attack error, mean / worst | accuracy, mean / worst |", "|---|---|---|---|"]
    for (attack, arm), each in found.items():
        error, right = ([figures[name] for figures in each] for name in ("attack error", "accuracy"))
        lines.append(
            f"| {attack} | {arm} | {np.mean(error):.3f} / {max(error):.3f} | {np.mean(right):.4f} / {min(right):.4f} |"
        )
    print("\n".join(lines))
    print(f"\n{describe()}")


if __name__ == "__main__":
    main()
