"""How often the release gate passes clean candidates and rejects poisoned ones.

    python bench/gate.py [--data DATA_DIR] [--seeds 5] [--first 0] [--trusted 8000] [--new 5000]

For each seed: a last known good model and five reseeds of trusted rows, a candidate of trusted and clean new rows, and
candidates of the same rows of which a share carries a three-feature trigger and the label benign. The candidates are
what screens that find nothing would leave. The pattern that is tried is the trigger, and one that no row carries.
Rows are generated traffic, or with --data NSL-KDD (see `nsl_kdd.py`).

Progress on stderr, a table in Markdown on stdout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from nsl_kdd_data import read_part

from detectors.batch import Scorer
from monitor.demo.supply import GeneratedTraffic
from rollback.gates.gate import Trial, judge
from rollback.gates.pattern import pattern_of
from rollback.manifest import Draft, FeatureSpec
from rollback.redteam.backdoor import choose_trigger, poison
from rollback.redteam.success import attack_success_rate
from rollback.sanitise.rows import Rows
from rollback.scorer import OnnxScorer
from rollback.tables.table import Table, class_indices, encode, infer_schema, sorted_classes
from rollback.train.recipe import TrainingRows, load_recipe

RATES = (0.0, 0.001, 0.005, 0.01)
RESEEDS = 5


class World:
    """Coded rows of one seed, and models of them."""

    def __init__(self, table: Table, benign: str) -> None:
        columns = [name for name in table.columns if name not in {"label", "source"}]
        features: tuple[FeatureSpec, ...] = infer_schema(table, exclude=set(table.columns) - set(columns))
        classes = sorted_classes(table.strings("label"))
        self._draft = Draft(classes=classes, features=features)
        self.schema = self._draft.manifest("", "", "").schema
        self.x = encode(table, features)
        self.y = class_indices(table, "label", classes)
        self.target = classes.index(benign)

    def rows(self, pick: slice) -> Rows:
        """Some of the rows, each a session of its own."""
        x, y = self.x[pick], self.y[pick]
        names = np.arange(len(x)).astype(np.str_)
        return Rows(self.schema, x, y, np.full(len(x), "-"), names)

    def fit(self, rows: Rows, seed: int) -> Scorer:
        """A model of these rows."""
        training = TrainingRows(self.schema, rows.x, rows.y, rows.session)
        made = load_recipe("mlp").train(training, seed=seed, device="cpu", progress=lambda *_: None)
        fed = Draft(classes=self._draft.classes, features=self._draft.features, onnx=made.onnx)
        return OnnxScorer(made.model, fed.manifest("", "", ""))


def run(world: World, seed: int, trusted: int, new: int) -> list[tuple[float, float, bool, list[str]]]:
    """(poisoning rate, attack success, passed, failed checks) of every candidate."""
    base, held = world.rows(slice(0, trusted)), world.rows(slice(trusted + new, trusted + new + 3000))
    fresh = world.rows(slice(trusted, trusted + new))
    rng = np.random.default_rng([seed, 5])
    triggers = [
        choose_trigger(base.x, base.y, world.schema, target=world.target, features=3, rng=rng) for _ in range(2)
    ]
    patterns = [
        p
        for name, t in zip(("trigger", "other"), triggers, strict=True)
        if (p := pattern_of(name, t.features, world.target, world.schema, base.x)) is not None
    ]
    lkg = world.fit(base, seed)
    reseeds = [world.fit(base, 1000 * (seed + 1) + i) for i in range(RESEEDS)]
    thirds = np.arange(len(base)) % 3
    parts = [world.fit(base.take(thirds != i), seed) for i in range(3)]
    told = []
    for rate in RATES:
        x, y = fresh.x, fresh.y
        if rate:
            x, y, _ = poison(
                x, y, triggers[0], world.schema, rate=rate * (trusted + new) / new, target=world.target, rng=rng
            )
        names = np.arange(len(base), len(base) + len(x)).astype(np.str_)
        learned = Rows.concat([base, Rows(world.schema, x, y, fresh.source, names)])
        candidate = world.fit(learned, seed + 7)
        success = attack_success_rate(candidate, held.x, held.y, triggers[0], world.schema, target=world.target)
        checks = judge(Trial(candidate, lkg, reseeds, held, parts, patterns), seed=seed)
        failed = [f"{c.name} {c.value:.3f} > {c.limit:.3f}" for c in checks if not c.passed]
        limit = next(c.limit for c in checks if c.name.endswith("trigger"))
        print(f"seed {seed} rate {rate}: success {success:.3f} limit {limit:.3f} failed {failed}", file=sys.stderr)
        told.append((rate, success, not failed, failed))
    return told


def traffic(seed: int, rows: int) -> World:
    return World(GeneratedTraffic(seed).draw(rows, drifted=False).table(), "benign")


def nsl_kdd(folder: Path) -> Callable[[int, int], World]:
    part = read_part(folder / "train_36f.parquet")

    def make(seed: int, rows: int) -> World:
        order = np.random.default_rng(seed).permutation(len(part))[:rows]
        return World(part.take(order).table(), "normal")

    return make


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--trusted", type=int, default=8000)
    parser.add_argument("--new", type=int, default=5000)
    asked = parser.parse_args(arguments)
    make = traffic if asked.data is None else nsl_kdd(asked.data)
    told = []
    for seed in range(asked.first, asked.first + asked.seeds):
        world = make(seed, asked.trusted + asked.new + 3000)
        told += run(world, seed, asked.trusted, asked.new)
    print("| poisoning rate | attack success, mean | passed | rejected |\n|---|---|---|---|")
    for rate in RATES:
        own = [(success, passed) for r, success, passed, _ in told if r == rate]
        passed = sum(p for _, p in own)
        print(f"| {rate:.1%} | {np.mean([s for s, _ in own]):.3f} | {passed} | {len(own) - passed} |")


if __name__ == "__main__":
    main()
