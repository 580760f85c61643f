"""`tocsin gate` as an operator sees it: a candidate, its buffer, answers, and an exit code."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scenario import NAME, TRIGGER, World, write_lines

from monitor.release_gate import LABELS_ERROR

KEEP = "keep"


def gate(world: World, out: Path, *more: str | Path, candidate: str = "2") -> subprocess.CompletedProcess[str]:
    root = world.root / "registry"
    command = [sys.executable, "-m", "monitor", "gate", "--registry", root, "--name", NAME, "--candidate", candidate]
    command += [] if "--full" in more else ["--quick"]
    more = tuple(word for word in more if word != "--full")
    return subprocess.run([*map(str, [*command, "--out", out, *more])], capture_output=True, text=True, check=False)


def requests(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def answers(path: Path, asked: list[dict[str, Any]], label: str) -> Path:
    return write_lines(path, [json.dumps({"id": r["id"], "label": label}).encode() for r in asked])


def test_a_poisoned_candidate_waits_for_labels_and_then_fails(world: World, tmp_path: Path) -> None:
    out = tmp_path / "gate.json"
    first = gate(world, out)
    assert first.returncode == 3, first.stderr
    result = json.loads(out.read_text())
    assert (result["passed"], result["result"]) == (False, "vetting")
    assert set(result["findings"][0]["features"]) == set(TRIGGER.features)
    asked = requests(tmp_path / "gate.vetting.ndjson")
    assert 4 <= len(asked) <= 16
    assert {(r["schema"], r["incident"]) for r in asked} == {("tocsin.vetting.v1", "gate:2")}
    assert all(sum(r["scores"].values()) == pytest.approx(1) for r in asked)

    half = answers(tmp_path / "half.ndjson", asked[:3], "attack")
    assert gate(world, out, "--vetting", half).returncode == 3
    assert {r["id"] for r in requests(tmp_path / "gate.vetting.ndjson")} == {r["id"] for r in asked[3:]}

    done = gate(world, out, "--vetting", answers(tmp_path / "all.ndjson", asked, "attack"))
    assert done.returncode == 1
    result = json.loads(out.read_text())
    (failed,) = [c for c in result["checks"] if not c["passed"]]
    assert failed["name"] == "false_labels.1"
    assert failed["value"] == 1.0
    assert 0 < failed["error_rate"] <= LABELS_ERROR
    assert not (tmp_path / "gate.vetting.ndjson").exists()


def test_a_candidate_whose_odd_rows_are_true_passes(world: World, tmp_path: Path) -> None:
    out = tmp_path / "gate.json"
    gate(world, out)
    honest = answers(tmp_path / "honest.ndjson", requests(tmp_path / "gate.vetting.ndjson"), "benign")
    done = gate(world, out, "--vetting", honest, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"] is True
    assert json.loads(out.read_text())["passed"] is True


def test_a_clean_buffer_asks_nothing(world: World, tmp_path: Path) -> None:
    own = world.registry.buffer("1")
    assert own is not None
    more = ("--buffer", own.path, "--label", "label", "--source", "source", "--session", "session")
    done = gate(world, tmp_path / "gate.json", *more)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "gate.vetting.ndjson").exists()


def test_harm_on_a_holdout_rejects(world: World, tmp_path: Path) -> None:
    own = world.registry.buffer("2")
    assert own is not None
    with own.path.open(newline="") as file:
        rows = list(csv.DictReader(file))[:3000]
    for row in rows:
        row.update({name: f"{value:g}" for name, value in TRIGGER.features.items()})
        row["label"] = "attack"
    path = tmp_path / "holdout.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    done = gate(world, tmp_path / "gate.json", "--holdout", path, "--label", "label", "--session", "session")
    assert done.returncode == 1
    assert "holdout_harm.attack" in done.stderr


def test_last_known_good_itself_passes_and_says_what_was_not_seen(world: World, tmp_path: Path) -> None:
    done = gate(world, tmp_path / "gate.json", candidate="1")
    assert done.returncode == 0, done.stderr
    assert "no training buffer was looked into" in done.stderr


@pytest.mark.parametrize(
    ("more", "content", "code", "said"),
    [
        (["--buffer", KEEP], "a,b\n1,2\n", 2, "--label"),
        (["--buffer", KEEP, "--label", "label"], "a,b\n1,2\n", 1, "no column"),
        (["--buffer", KEEP, "--label", "label"], "\x00\x01", 1, "rows.csv"),
        (["--vetting", KEEP], "{}\n", 1, "line 1"),
        (["--vetting", KEEP], '{"id": "a", "label": "ransom"}\n', 1, "'ransom' is none of the classes"),
        (["--holdout", KEEP, "--label", "label"], "", 1, "rows.csv"),
        (["--candidate", "9"], "", 1, "no version '9'"),
    ],
)
def test_what_cannot_be_used_is_said_without_a_traceback(
    world: World, tmp_path: Path, more: list[str], content: str, code: int, said: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    done = gate(world, tmp_path / "gate.json", *(str(path) if word == KEEP else word for word in more))
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "gate.json").exists()
