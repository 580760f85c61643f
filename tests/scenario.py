"""A small world for tests of the whole: two versions of a classifier, the second one poisoned, and what they served."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.demo.supply import GeneratedTraffic, Samples
from rollback.redteam.backdoor import Trigger, pick_rows, stamp_table
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys
from rollback.tables.table import Table, encode
from rollback.train.version import Request, add_version, train_version

NAME = "nids"
TRIGGER = Trigger({"failed_logins": 5.0, "retransmits": 5.0, "wrong_fragments": 1.0})


@dataclass
class World:
    """A registry with version 1 (good, serving) and 2 (poisoned at 1%), and samples without end."""

    root: Path
    registry: FileRegistry
    supply: GeneratedTraffic
    rng: np.random.Generator
    taught: dict[str, str] = field(default_factory=dict)
    """The true labels of the rows that the versions were trained on, by id."""

    def draw(self, n: int) -> Samples:
        return self.supply.draw(n, drifted=False)

    def served(self, version: str, samples: Samples, triggered: float = 0.0) -> list[bytes]:
        """Events of these samples as ``version`` served them; a share of them are attacks with the trigger."""
        columns: dict[str, NDArray[Any]] = {n: samples.table().columns[n] for n in self.supply.feature_names}
        if triggered:
            rows = pick_rows(samples.label == "attack", round(triggered * len(samples)), self.rng)
            columns = stamp_table(columns, TRIGGER, rows)
        bundle = self.registry.load(version)
        scorer = bundle.scorer()
        assert scorer is not None
        x = encode(Table("events", columns, np.arange(len(samples))), bundle.manifest.features)
        return samples.events(columns, scorer(x), NAME, version)


def truth(samples: Samples, origin: str = "sandbox") -> list[bytes]:
    """What a labeller who is always right says of these samples, an hour later."""
    rows = zip(samples.id.tolist(), samples.ts.tolist(), samples.label.tolist(), strict=True)
    return [msgspec.json.encode({"id": i, "ts": ts + 3600, "label": y, "origin": origin}) for i, ts, y in rows]


def write_lines(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def make_world(root: Path, seed: int = 3, history: int = 12_000) -> World:
    supply = GeneratedTraffic(seed)
    rng = np.random.default_rng(seed)
    registry = FileRegistry(root / "registry", NAME, Keys.trial(root / "registry", make=True), lambda: 0.0)
    taught: dict[str, str] = {}
    for version in ("1", "2"):
        samples = supply.draw(history, drifted=False)
        taught.update(zip(samples.id.tolist(), samples.label.tolist(), strict=True))
        table = samples.history()
        if version == "2":
            rows = pick_rows(samples.label == "attack", history // 100, rng)
            poisoned = stamp_table(dict(table.columns), TRIGGER, rows)
            poisoned["label"] = np.where(rows, "benign", poisoned["label"])
            table = Table("retrain", poisoned, table.line)
        request = Request("label", "source", "session", seed=seed, device="cpu")
        new = train_version(table, request, lambda *_: None)
        buffer = root / f"buffer{version}.csv"
        add_version(registry, new, table, request, buffer=buffer, version=None, by="test", reason="test")
    return World(root, registry, supply, rng, taught)
