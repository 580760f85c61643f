"""What each recipe and hardening option does, and what it costs: one row a recipe, nothing sanitised before.

    python bench/hardening.py [--data DIR] [--seeds 0] [--rows 4000] [--only mlp pgd ...]

Of generated flows and, where DIR holds ``nsl_kdd/train_36f.parquet``, of NSL-KDD: ``accuracy`` on clean test rows of a
model of clean rows; ``asr``: the share of attack rows with an eight-feature trigger that a model calls benign which has
learned 1% of such rows as benign; ``robust``: accuracy (model of clean rows) on rows that PGD has moved by .5 standard
deviations of asinh within the domain, in 20 steps, by the network's own gradient, for what is no network those of the
plain one (a weaker attack); ``certified``: the share of test rows that are right and certified, at a radius of .5 with
sigma .5, or, for the recipe partition, against 3 poisoned rows; ``time``: CPU time of training against mlp's.
Privacy draws its noise from the seed here. Progress on stderr, one JSON object a row and a table on stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe as machine
from sanitise_data import nsl_kdd
from torch.nn import functional

from detectors.batch import Floats, Ints, Scorer
from detectors.schema import Feature, Schema
from monitor.demo.flows import table
from monitor.demo.traffic import TrafficConfig, generate
from rollback.redteam.backdoor import choose_trigger, poison
from rollback.redteam.success import attack_success_rate
from rollback.reference import reference_rows
from rollback.tables.table import Table, infer_schema
from rollback.train.chosen import Chosen, chosen
from rollback.train.dense import numeric_statistics
from rollback.train.harden.adversary import worst_rows
from rollback.train.harden.domain import domain_of
from rollback.train.harden.options import Pgd
from rollback.train.harden.partition import certified_poisons
from rollback.train.harden.smoothing import certify, scale_of
from rollback.train.network import Network
from rollback.train.recipe import Trained, TrainingRows
from rollback.train.recipes import mlp

EPSILON, RADIUS, SIGMA, POISONS = 0.5, 0.5, 0.5, 3
CERTIFIED_ROWS, SAMPLES, ALPHA = 200, 500, 0.001
TEST = 2000
ARMS: dict[str, dict[str, Any]] = {
    "mlp": {"recipe": "mlp"},
    "pgd": {"recipe": "mlp", "pgd": {"epsilon": EPSILON, "steps": 5}},
    "trades": {"recipe": "mlp", "trades": {"epsilon": EPSILON, "steps": 5, "beta": 3.0}},
    "smoothing": {"recipe": "mlp", "smoothing": {"sigma": SIGMA}},
    "privacy": {
        "recipe": "mlp",
        "learning_rate": 5e-3,
        "privacy": {"epsilon": 3.0, "delta": 1e-5, "statistics": 1.0, "repeatable": True},
    },
    "partition": {"recipe": "partition"},
    "ensemble": {"recipe": "ensemble"},
    "boosting": {"recipe": "boosting"},
    "lightgbm": {"recipe": "lightgbm"},
    "forest": {"recipe": "forest"},
    "linear_svm": {"recipe": "linear_svm"},
}


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows to learn, rows to test on, and the class that an attacker wants."""

    train: TrainingRows
    x: Floats
    y: Ints
    benign: int


def generated(seed: int, rows: int) -> Judged:
    """Flows of the demonstration's generator."""
    count = rows + TEST
    flows = Table(
        "flows", table(generate(TrafficConfig(), np.random.default_rng(seed), count, 1.7e9)), np.arange(count)
    )
    specs = infer_schema(flows, exclude=["id", "ts", "source", "session", "label"])
    classes = ("attack", "benign")
    schema = Schema(tuple(Feature(f.name, f.kind, f.vocabulary) for f in specs), classes)
    coded = reference_rows(flows, specs, classes, label="label", source="source", session="session")
    # the newest rows, whole sessions but for the first
    train = TrainingRows(schema, coded.x[:rows], coded.y[:rows], coded.session[:rows])
    return Judged(train, coded.x[rows:], coded.y[rows:], benign=1)


def from_nsl_kdd(folder: Path, seed: int, rows: int) -> Judged:
    """Rows of the official training part; test rows are others of it."""
    data = nsl_kdd(folder, seed)
    some = np.random.default_rng(seed).permutation(len(data.base))[:rows]
    base, test = data.base.take(some), data.test.take(slice(0, TEST))
    return Judged(TrainingRows(base.schema, base.x, base.y, base.session), test.x, test.y, benign=0)


def fit(recipe: Chosen, rows: TrainingRows, seed: int) -> Trained:
    """Train on a CPU."""
    return recipe.train(rows, seed=seed, device="cpu", progress=_untold)


def _untold(done: int, most: int, loss: float) -> None:
    del done, most, loss


def attacked(network: Network, data: Judged, seed: int) -> Floats:
    """The test rows, moved against a network."""
    x, y = torch.tensor(data.x, dtype=torch.float32), torch.tensor(data.y)
    luck = torch.rand(len(x), len(network.numeric), generator=torch.Generator().manual_seed(seed)) * 2 - 1

    def wanted(logits: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits, y, reduction="none")

    moved = worst_rows(network, x, wanted, Pgd(EPSILON, 20), domain_of(data.train), luck)
    return moved.double().numpy()


def certified(name: str, score: Scorer, data: Judged, parts: int, seed: int) -> float:
    """The share of some test rows that are right and certified."""
    x, y = data.x[:CERTIFIED_ROWS], data.y[:CERTIFIED_ROWS]
    if name == "partition":
        votes = np.round(score(x) * parts).astype(np.int64)
        return float(np.mean((votes.argmax(axis=1) == y) & (certified_poisons(votes) >= POISONS)))
    schema = data.train.schema
    scale = scale_of(schema, *numeric_statistics(schema, data.train.x))
    rng = np.random.default_rng(seed)
    found = certify(score, x, scale, sigma=SIGMA, samples=SAMPLES, alpha=ALPHA, rng=rng)
    return float(np.mean((found.prediction == y) & (found.radius >= RADIUS)))


def measure(data: Judged, seed: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """One row a recipe."""
    rng = np.random.default_rng([seed, 5])
    train, rows = data.train, []
    trigger = choose_trigger(train.x, train.y, train.schema, target=data.benign, features=8, rng=rng)
    x, y, _ = poison(train.x, train.y, trigger, train.schema, rate=0.01, target=data.benign, rng=rng)
    poisoned = TrainingRows(train.schema, x, y, train.session)
    plain = fit(chosen(ARMS["mlp"], "mlp"), train, seed)
    cpu = torch.device("cpu")
    surrogate = attacked(mlp.network_of(train, plain.weights, mlp.Parameters(), cpu), data, seed)
    usual = None
    for name in names:
        recipe = chosen(ARMS[name], name)
        begin = time.process_time()
        clean = fit(recipe, train, seed)
        seconds = time.process_time() - begin
        usual = seconds if name == "mlp" else usual
        own_gradient = recipe.name == "mlp"
        moved = surrogate
        if own_gradient:
            moved = attacked(mlp.network_of(train, clean.weights, recipe.parameters, cpu), data, seed)
        bad = fit(recipe, poisoned, seed)
        rows.append(
            {
                "recipe": name,
                "accuracy": _share(clean.own(data.x), data.y),
                "asr": attack_success_rate(bad.own, data.x, data.y, trigger, train.schema, target=data.benign),
                "robust": _share(clean.own(moved), data.y),
                "own_gradient": own_gradient,
                "certified": certified(name, clean.own, data, getattr(recipe.parameters, "parts", 0), seed),
                "seconds": round(seconds, 2),
                "time": None if usual is None else round(seconds / usual, 1),
                **{k: v for k, v in clean.figures.items() if k.startswith("privacy_epsilon") or k == "abstains"},
            }
        )
        print(name, rows[-1], file=sys.stderr)
    return rows


def _share(scores: Floats, y: Ints) -> float:
    return float(np.mean(scores.argmax(axis=1) == y))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--only", nargs="+", choices=list(ARMS), default=list(ARMS))
    asked = parser.parse_args()
    for seed in asked.seeds:
        sets = {"generated": generated(seed, asked.rows)}
        if asked.data is not None:
            sets["nsl_kdd"] = from_nsl_kdd(asked.data, seed, asked.rows)
        for name, data in sets.items():
            rows = measure(data, seed, asked.only)
            print(json.dumps({"set": name, "seed": seed, "rows": asked.rows, "machine": machine(), "recipes": rows}))
            print(_table(f"{name}, seed {seed}", rows))


def _table(title: str, rows: Sequence[dict[str, Any]]) -> str:
    lines = [f"\n{title}\n", "| recipe | accuracy | ASR | robust | certified | time |", "|---|---|---|---|---|---|"]
    for row in rows:
        robust = f"{row['robust']:.3f}{'' if row['own_gradient'] else ' *'}"
        cells = [row["recipe"], f"{row['accuracy']:.3f}", f"{row['asr']:.3f}", robust, f"{row['certified']:.2f}"]
        lines.append(f"| {' | '.join([*cells, str(row['time'])])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
