"""Ended before any single thing that it leaves behind, and again while it recovers, the story comes to the same end.

``CRASH_STEPS`` steps are tried, spread over all that there are from ``CRASH_FROM`` on (`make soak` tries every one).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crash_story import AGE, START
from scenario import NAME, World

from monitor.demo.supply import GeneratedTraffic
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys

AGAIN = 3
"""The process that goes on after a crash is ended before this step of its own: recovering is not safe from crashes."""
STEPS = int(os.environ.get("CRASH_STEPS", "6"))
FIRST = int(os.environ.get("CRASH_FROM", "1"))


class Harness:
    """The process that plays; `play` one story, ended before a step (0: to its end)."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, str(Path(__file__).parents[1] / "crash_story.py"), str(root)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def play(self, name: str, *steps: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name} {' '.join(map(str, steps))}\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def harness(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    root = tmp_path_factory.mktemp("crash")
    stage = root / "stage"
    stage.mkdir()
    shutil.copytree(world.root / "registry", stage / "registry", symlinks=True)
    registry = FileRegistry(stage / "registry", NAME, Keys.trial(stage / "registry", make=True), lambda: 0.0)
    registry.promote("2", expected="1", known_good=False, by="release", reason="scheduled retrain")
    mine = World(world.root, world.registry, GeneratedTraffic(29), np.random.default_rng(29))
    truth = dict(world.taught)
    for age, (version, count) in enumerate((("2", 1000), ("1", 400), ("3", 400)), start=1):
        samples = replace(mine.draw(count), ts=START + AGE * age - np.arange(count, 0.0, -1.0))
        truth.update(zip(samples.id.tolist(), samples.label.tolist(), strict=True))
        served = mine.served("2" if version == "2" else "1", samples, triggered=0.03)
        lines = [line.replace(b'"version":"1"', b'"version":"%s"' % version.encode()) for line in served]
        (stage / f"events{version}.ndjson").write_bytes(b"".join(line + b"\n" for line in lines))
    (stage / "truth.json").write_text(json.dumps(truth))
    (stage / "serving").write_text("2")
    made = Harness(root)
    yield made
    made.close()


@pytest.mark.timeout(600 + 120 * min(STEPS, 1000))
def test_killed_before_any_step_the_story_ends_as_if_nothing_had_happened(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = harness.play("whole", 0)
    assert (whole["codes"], whole["code"]) == ([0], 0), whole
    end = whole["told"]
    assert end["events"] == [1800, [1]]
    assert end["incident"][1:] == ["poisoning", "backdoor", "resolved", "close"]
    assert end["actions"] == [["rollback", "1", "done"], ["retraining", "3", "done"], ["promotion", "3", "done"]]
    assert end["plans"] == {"promotion": 1, "retraining": 1, "rollback": 1}
    assert (end["versions"], end["pointers"]["serving"], end["told"]) == (["1", "2", "3"], "3", ["1", "3"])
    count = whole["counted"]
    assert count > 200
    tried = sorted({round(s) for s in np.linspace(FIRST, count, min(STEPS, count + 1 - FIRST))})
    for number, step in enumerate(tried):
        if number % 25 == 0:
            with capsys.disabled():
                print(f"\ncrash harness: {number} of {len(tried)} kills, of {count} steps", flush=True)  # noqa: T201
        found = harness.play(f"step{step}", step, AGAIN)
        assert found["codes"] == [-9, -9, 0], (step, found)
        assert found["told"] == end, (step, found["told"])
