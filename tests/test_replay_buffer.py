"""A replay with a retraining buffer: poison is called before anybody uses the trigger, and honest rows are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from scenario import NAME, TRIGGER, World, write_lines
from typer.testing import CliRunner

from monitor.cli.main import COMMANDS, application
from rollback.tables.table import read_table

runner = CliRunner()


def replay(world: World, out: Path, *more: str | Path) -> dict[str, Any]:
    arguments = ["replay", "--registry", world.root / "registry", "--name", NAME, "--out", out, *more]
    done = runner.invoke(application(["replay"], COMMANDS), [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return summary


def row_labels(world: World, *, honest: bool) -> list[bytes]:
    """What a labeller says of the buffer's rows: those with the trigger are attacks, unless they are ``honest``."""
    found = world.registry.buffer("2")
    assert found is not None
    table = read_table(found.path)
    planted = np.all([table.floats(n) == float(v) for n, v in TRIGGER.features.items()], axis=0)
    label = table.strings("label") if honest else np.where(planted, "attack", table.strings("label"))
    return [
        msgspec.json.encode({"id": i, "label": y})
        for i, y in zip(table.strings("id").tolist(), label.tolist(), strict=True)
    ]


def test_a_poisoned_buffer_is_poisoning_before_any_trigger_is_used(world: World, tmp_path: Path) -> None:
    events = write_lines(tmp_path / "quiet.ndjson", world.served("2", world.draw(2500)))
    answers = write_lines(tmp_path / "rows.ndjson", row_labels(world, honest=False))
    summary = replay(world, tmp_path / "out", "--events", events, "--vetting", answers)
    assert (summary["verdict"]["family"], summary["verdict"]["hypothesis"]) == ("poisoning", "backdoor")
    last = json.loads((tmp_path / "out" / "incidents.ndjson").read_text().splitlines()[-1])
    assert last["implicated"]["features"] == dict(TRIGGER.features)
    assert last["implicated"]["labels"] == ["benign"]
    assert "training buffer" in last["summary"]
    asked = [json.loads(line) for line in (tmp_path / "out" / "vetting.ndjson").read_text().splitlines()]
    assert {r["incident"] for r in asked} == {"gate:2"}
    assert len(asked) <= 16


def test_rows_that_are_what_they_say_accuse_nobody(world: World, tmp_path: Path) -> None:
    events = write_lines(tmp_path / "quiet.ndjson", world.served("2", world.draw(2500)))
    answers = write_lines(tmp_path / "rows.ndjson", row_labels(world, honest=True))
    summary = replay(world, tmp_path / "out", "--events", events, "--vetting", answers)
    assert summary["verdict"]["family"] in ("stable", "drift")
    assert summary["asked"] > 0
