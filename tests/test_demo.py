"""The demonstration tells the story that it promises, on generated traffic and on a table of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka_broker import KafkaBroker

from monitor.demo.supply import GeneratedTraffic
from rollback.audit.log import FILE_NAME
from rollback.audit.verification import verify
from rollback.tables.table import write_table

pytestmark = pytest.mark.timeout(900)  # a minute or two on idle cores, with a training in it


def demo(out: Path, *more: str) -> tuple[dict[str, Any], str]:
    command = [sys.executable, "-m", "monitor", "demo", "--approve", "--out", str(out), "--json", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def check(figures: dict[str, Any]) -> None:
    assert figures["drift"] == ["drift"]
    assert figures["poisoning"] == "backdoor"
    assert figures["named"] == figures["trigger"]
    assert (figures["last_known_good"], figures["poisoned"], figures["serving"]) == ("1", "2", "3")
    assert (figures["rollback"], figures["gate"], figures["promoted"]) == ("served", True, True)
    assert figures["caught"] >= 0.95 * figures["poison"] > 0
    passed, triggered = figures["attack_success"]["2"]
    assert passed >= 0.8 * triggered > 0
    for version in ("1", "3"):
        passed, triggered = figures["attack_success"][version]
        assert passed <= 0.25 * triggered
    assert figures["accuracy"]["3"] > figures["accuracy"]["2"] - 0.01


def test_on_generated_traffic_the_drift_is_let_be_and_the_backdoor_is_rolled_back(tmp_path: Path) -> None:
    figures, told = demo(tmp_path)
    check(figures)
    assert "rollback: done" in told
    assert "The incident is closed: resolved." in told
    assert told.rstrip().endswith(f"The report on the incident, as a page: {tmp_path / 'report.html'}")
    assert "poisoning (backdoor)" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert verify(tmp_path / "state" / FILE_NAME).records >= 2
    windows = [json.loads(w) for w in (tmp_path / "state" / "windows.ndjson").read_text().splitlines()]
    assert len(windows) == figures["windows"]
    assert sum(w["events"] > 0 for w in windows) == 24  # others judge answers that came when no events did
    command = [sys.executable, "-m", "monitor", "response", "list", "--all", "--json"]
    command += ["--config", str(tmp_path / "tocsin.yaml")]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [(c["kind"], c["phase"]) for c in json.loads(listed.stdout)] == [
        ("rollback", "served"),
        ("retraining", "made"),
        ("promotion", "served"),
    ]


def test_a_table_of_ones_own_tells_it_too(tmp_path: Path) -> None:
    samples = GeneratedTraffic(11).draw(20_000, drifted=False)
    columns = {name: column[samples.pick] for name, column in samples.columns.items()}
    about = {"id": np.asarray(samples.id), "ts": samples.ts, "source": np.asarray(samples.source)}
    write_table(tmp_path / "own.csv", {**about, **columns, "verdict": np.asarray(samples.label)})
    figures, told = demo(tmp_path / "out", "--data", str(tmp_path / "own.csv"), "--label", "verdict")
    assert (figures["poisoning"], figures["rollback"], figures["serving"]) == ("backdoor", "served", "3")
    assert figures["caught"] == figures["poison"] > 0
    assert figures["attack_success"]["3"][0] == 0
    assert "other samples become more common" in told


@pytest.mark.kafka
def test_the_same_story_runs_through_a_real_broker(tmp_path: Path, kafka: KafkaBroker) -> None:
    figures, _ = demo(tmp_path, "--kafka", kafka.bootstrap)
    check(figures)


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    command = [sys.executable, "-m", "monitor", "demo", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is not empty" in done.stderr


def test_a_table_that_is_too_small_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("bytes,verdict\n1,attack\n2,benign\n")
    command = [sys.executable, "-m", "monitor", "demo", "--out", str(tmp_path / "out"), "--data",
               str(tmp_path / "own.csv"), "--label", "verdict"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"tocsin: {tmp_path / 'own.csv'}: 2 labelled rows; the demonstration needs 4000 at least\n"


def test_a_missing_text_is_null_in_an_event() -> None:
    samples = GeneratedTraffic(3).draw(2, drifted=False)
    columns = {"service": np.array(["http", ""]), "bytes": np.array([1.0, np.nan])}
    events = [json.loads(event) for event in samples.events(columns, np.full((2, 2), 0.5), "nids", "1")]
    assert [event["features"] for event in events] == [
        {"service": "http", "bytes": 1.0},
        {"service": None, "bytes": None},
    ]
