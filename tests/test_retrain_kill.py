"""A retraining that is killed (-9) at any moment and started again: one candidate, the same outputs."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_registry import Small, make_small, oracle

from rollback.registry.file import FileRegistry
from rollback.retraining.out import Out
from rollback.retraining.retrain import Outcome, retrain
from rollback.tables.table import read_table

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
pytest.importorskip("pyarrow", reason="the outputs are Parquet: pip install 'tocsin[data]'")

MOMENTS = [
    "begun", "sanitising", "before removed.parquet", "after removed.parquet", "after gate.json", "after plan",
    "before add", "after add", "before candidate.json", "after candidate.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("killed"), rows=700)


class Deadly:
    """Kills this very process when the moment has come."""

    def __init__(self, moment: str) -> None:
        self._moment = moment

    def at(self, moment: str) -> None:
        if moment == self._moment:
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyOut(Out):
    """A folder in which writing may be the last thing that happens."""

    def __init__(self, folder: Path, deadly: Deadly) -> None:
        super().__init__(folder)
        self._deadly = deadly

    def write(self, name: str, content: bytes) -> None:
        self._deadly.at(f"before {name}")
        super().write(name, content)
        self._deadly.at(f"after {name}")

    def write_columns(self, name: str, columns: Any) -> None:
        self._deadly.at(f"before {name}")
        super().write_columns(name, columns)
        self._deadly.at(f"after {name}")

    def begin(self, request: str, registry: Any) -> Any:
        attempt = super().begin(request, registry)
        self._deadly.at("begun")
        return attempt

    def plan(self, attempt: Any, version: str) -> None:
        super().plan(attempt, version)
        self._deadly.at("after plan")


class DeadlyRegistry(FileRegistry):
    """A registry to which adding may be the last thing that happens."""

    deadly: Deadly

    def add(self, *arguments: Any, **named: Any) -> Any:
        self.deadly.at("before add")
        bundle = super().add(*arguments, **named)
        self.deadly.at("after add")
        return bundle


def run(small: Small, out: Path, moment: str = "") -> Outcome:
    deadly = Deadly(moment)
    registry = small.registry
    registry.__class__ = DeadlyRegistry
    registry.deadly = deadly  # type: ignore[attr-defined]  # it is a deadly one now

    def sanitise(*rows: Any, **named: Any) -> Any:
        deadly.at("sanitising")
        return oracle()(*rows, **named)

    asked = small.asked(place="registry")
    return retrain(registry, asked, DeadlyOut(out, deadly), sanitise=sanitise, by="test", progress=lambda *_: None)


def in_a_child(work: Callable[[], object]) -> int | None:
    """Run it in a process of its own; how that one ended."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(240)
    return child.exitcode


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_started_again_there_is_one_candidate(small: Small, tmp_path: Path, moment: str) -> None:
    shutil.copytree(small.root, tmp_path / "world", symlinks=True)
    copy = Small(tmp_path / "world", tmp_path / "world" / "buffer.parquet", small.poison_ids)
    out = tmp_path / "out"
    assert in_a_child(lambda: run(copy, out, moment)) == -signal.SIGKILL
    assert copy.registry.pointers().serving == "1"
    for version in copy.registry.versions():
        copy.registry.verify(version)

    made = run(copy, out)
    assert list(copy.registry.versions()) == ["1", made.candidate]
    copy.registry.verify(made.candidate)
    assert made.repeated == (moment in {"after add", "before candidate.json", "after candidate.json"})
    assert set(read_table(out / "removed.parquet").strings("id").tolist()) == copy.poison_ids
    assert not [path.name for path in out.iterdir() if path.name.startswith(".") and path.name != ".lock"]
