"""NSL-KDD as a stream: official parts, rows as events, the truth about them, and models that serve."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Bools, Floats, Ints, Strings
from monitor.demo.supply import SECOND_OF_DAY_ZERO, Samples
from rollback.redteam.backdoor import Trigger, choose_trigger, pick_rows, stamp_table
from rollback.registry.registry import Registry
from rollback.tables.table import Table, class_indices, encode, read_table, write_table

MODEL = "nsl"
NORMAL, ATTACK = "normal", "attack"
NO_FEATURES = ("class", "category", "difficulty")
SOURCES = 8
SPACING = 0.1
"""Seconds of event time between two events."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one official part: features, ``label`` (normal or attack), ``kind`` (the attack's name), ``source``."""

    features: Mapping[str, NDArray[Any]]
    label: Strings
    kind: Strings
    source: Strings

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: Ints) -> Part:
        """Some rows."""
        features = {name: column[rows] for name, column in self.features.items()}
        return Part(features, self.label[rows], self.kind[rows], self.source[rows])

    def table(self) -> Table:
        """What a version is trained on."""
        columns = {**self.features, "source": self.source, "label": self.label}
        return Table("rows", columns, np.arange(len(self)))

    def samples(self, name: str, start: int) -> Samples:
        """The rows as a stream, ``start`` events after its beginning. Each row is a session of its own."""
        number = np.arange(start, start + len(self))
        ids = np.char.add(f"{name}-", number.astype(np.str_))
        ts = np.round(SECOND_OF_DAY_ZERO + number * SPACING, 3)
        return Samples(ts, ids, self.source, ids, self.label, np.arange(len(self)), self.features)


def read_part(path: Path) -> Part:
    """One official part. It names no sources: rows are given to eight of them in turn."""
    table = read_table(path)
    label = np.where(table.column("label") == 1, ATTACK, NORMAL)
    features = {name: column for name, column in table.columns.items() if name not in {"label", *NO_FEATURES}}
    source = np.char.add("sensor-", (np.arange(len(table)) % SOURCES + 1).astype(np.str_))
    return Part(features, label, table.strings("class"), source)


@dataclass(frozen=True, slots=True)
class Split:
    """One seed's division of the official parts, none of which overlap.

    ``history`` trains the good version, ``retrain`` the next one, ``control`` is held out of both. ``first`` and
    ``second`` are the halves of the test part.
    """

    history: Part
    retrain: Part
    control: Part
    first: Part
    second: Part


def split(train: Part, test: Part, seed: int) -> Split:
    """Random rows for each use: 40% of the training part each for history and retrain, the rest for control."""
    rng = np.random.default_rng(seed)
    order, other = rng.permutation(len(train)), rng.permutation(len(test))
    cut, half = len(train) * 2 // 5, len(test) // 2
    parts = (order[:cut], order[cut : 2 * cut], order[2 * cut :])
    return Split(*(train.take(rows) for rows in parts), test.take(other[:half]), test.take(other[half:]))


def attack(good: Registry, retrain: Part, rate: float, seed: int) -> tuple[Trigger, Part]:
    """A trigger of three features, and the retraining rows after the attacker has touched ``rate`` of them."""
    rng = np.random.default_rng([seed, 1])
    manifest = good.load("1").manifest
    table = retrain.table()
    y = class_indices(table, "label", manifest.classes)
    x = encode(table, manifest.features)
    trigger = choose_trigger(x, y, manifest.schema, target=manifest.classes.index(NORMAL), features=3, rng=rng)
    rows = pick_rows(retrain.label == ATTACK, round(rate * len(retrain)), rng)
    features = stamp_table(retrain.features, trigger, rows)
    return trigger, Part(features, np.where(rows, NORMAL, retrain.label), retrain.kind, retrain.source)


def train(part: Part, folder: Path, registry: Path, seed: int, parent: str | None) -> None:
    """`tocsin train`, as anybody would call it."""
    path = folder / "rows.parquet"
    write_table(path, part.table().columns)
    command = ["train", "--data", path, "--label", "label", "--source", "source", "--registry", registry]
    tocsin(*command, "--name", MODEL, "--seed", str(seed), *(["--parent", parent] if parent else []))


def tocsin(*arguments: str | Path) -> None:
    """Run a command of Tocsin's; what it says on stderr is shown where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "monitor", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"tocsin {arguments[0]} failed ({done.returncode}):\n{done.stderr[-4000:]}")


class Served:
    """Answers of the versions of a registry, as a model server would give them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._loaded: dict[str, Any] = {}

    def scores(self, version: str, features: Mapping[str, NDArray[Any]]) -> Floats:
        """Probabilities[n, k]."""
        scorer, manifest = self._load(version)
        rows = len(next(iter(features.values())))
        answer: Floats = scorer(encode(Table("events", features, np.arange(rows)), manifest.features))
        return answer

    def wrong(self, version: str, features: Mapping[str, NDArray[Any]], label: Strings) -> Bools:
        """Which rows the version decides wrongly."""
        classes = np.array(self._load(version)[1].classes)
        decided = classes[self.scores(version, features).argmax(axis=1)]
        return np.asarray(decided != label, np.bool_)

    def _load(self, version: str) -> Any:
        if version not in self._loaded:
            bundle = self._registry.load(version)
            self._loaded[version] = bundle.scorer(), bundle.manifest
        return self._loaded[version]
