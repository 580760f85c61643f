"""A small registry with one good version, and buffers to retrain from: seconds instead of minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.demo.flows import table
from monitor.demo.traffic import TrafficConfig, generate
from rollback.redteam.backdoor import Trigger, pick_rows, stamp_table
from rollback.registry.file import FileRegistry
from rollback.registry.registry import Buffer
from rollback.retraining.data import Tables
from rollback.retraining.retrain import Retraining
from rollback.sanitise.rows import Fit, Progress, Rows, Sanitised, Slice
from rollback.sanitise.sanitise import Settings
from rollback.signing.keys import Keys
from rollback.tables.table import Table, write_table
from rollback.train.version import Request, add_version, train_version

NAME = "nids"
TRIGGER = Trigger({"failed_logins": 5.0, "retransmits": 5.0, "wrong_fragments": 1.0})
REQUEST = Request("label", "source", "session", ignore=("id", "ts"), device="cpu", seed=7)


def flows(rows: int, seed: int) -> Table:
    made = generate(TrafficConfig(), np.random.default_rng(seed), rows, 1.7e9)
    return Table("flows", table(made), np.arange(rows) + 2)


def poisoned(data: Table, share: float) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
    """The table's columns with a backdoor in that share of the rows, and which rows those are."""
    rows = pick_rows(data.strings("label") == "attack", round(share * len(data)), np.random.default_rng(1))
    columns = stamp_table(dict(data.columns), TRIGGER, rows)
    return {**columns, "label": np.where(rows, "benign", columns["label"])}, rows


@dataclass
class Small:
    """A registry with version 1, and the training buffer of a poisoned one that was never added."""

    root: Path
    buffer: Path
    poison_ids: set[str]

    @property
    def registry(self) -> FileRegistry:
        return FileRegistry(self.root / "registry", NAME, Keys.trial(self.root / "registry", make=True), lambda: 0.0)

    def asked(self, **change: Any) -> Retraining:
        tables = Tables(
            Buffer(change.pop("buffer", self.buffer), "label", "source", "session"), **change.pop("tables", {})
        )
        defaults: dict[str, Any] = {"place": str(self.root), "model": NAME, "tables": tables, "device": "cpu"}
        return Retraining(**{**defaults, **change})


def make_small(root: Path, *, rows: int = 900, keep_buffer: bool = True) -> Small:
    data = flows(rows, 0)
    registry = FileRegistry(root / "registry", NAME, Keys.trial(root / "registry", make=True), lambda: 0.0)
    made = train_version(data, REQUEST, lambda *_: None)
    if keep_buffer:
        add_version(registry, made, data, REQUEST, buffer=root / "learned.csv", version=None, by="test", reason="first")
    else:
        registry.add(made.draft, made.files, by="test", reason="first")
    columns, stamped = poisoned(flows(700, 5), 0.05)
    write_table(root / "buffer.parquet", columns)
    return Small(root, root / "buffer.parquet", set(columns["id"][stamped].tolist()))


def oracle(*, swap: float = 0.9, label: str = "benign") -> Callable[..., Sanitised]:
    """A sanitiser that knows the trigger."""

    def sanitise(
        base: Rows, new: Rows, fit: Fit, *, seed: int, hint: Any, progress: Progress, settings: Settings
    ) -> Sanitised:
        columns = [new.schema.names.index(name) for name in TRIGGER.features]
        removed = np.all(new.x[:, columns] == list(TRIGGER.features.values()), axis=1)
        found = Slice(label, None, dict(TRIGGER.features), 9.0, int(removed.sum()), swap)
        return Sanitised(
            removed=removed,
            screen=np.where(removed, "oracle", ""),
            reason=np.where(removed, "carries the trigger", ""),
            score=np.where(removed, 1.0, np.nan),
            weight=np.where(removed, 0.0, 0.5),
            slices=(found,) if removed.any() else (),
            error_rate={"oracle": 0.0},
            base_scorers=(),
        )

    return sanitise
