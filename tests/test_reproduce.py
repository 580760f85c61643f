"""A version that is not what its buffer gives: its weights were changed after the training, or the rows before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from in_process import Run
from scenario import NAME, World

from detectors.batch import Floats, Scorer
from monitor.panel import compare_versions
from monitor.release_gate import Release, judge_candidate
from rollback.bundle import Bundle
from rollback.manifest import Draft
from rollback.registry.memory import MemoryRegistry
from rollback.registry.registry import Buffer
from rollback.retraining.data import RetrainRefusedError
from rollback.retraining.reproduce import reproduced
from rollback.signing.keys import Keys, new_signing_key
from rollback.tables.table import Table, read_table
from rollback.train.version import Request, train_version

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")


def kept(world: World, version: str) -> Buffer:
    found = world.registry.buffer(version)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def again(world: World) -> Scorer:
    """What the buffer of version 2 gives."""
    return reproduced(world.registry.load("2"), kept(world, "2"), "cpu", lambda *_: None)


@pytest.fixture(scope="module")
def other(world: World) -> Bundle:
    """A version that was trained on other labels than its buffer holds: a part of the attacks is benign."""
    table = read_table(kept(world, "2").path, text=["id", "session"])
    label = table.strings("label")
    lied = (label == "attack") & (table.floats("duration") < np.median(table.floats("duration")))
    columns = {**table.columns, "label": np.where(lied, "benign", label)}
    request = Request("label", "source", "session", seed=3, device="cpu")
    made = train_version(Table("other", columns, table.line), request, lambda *_: None)
    registry = MemoryRegistry(NAME, Keys.of(new_signing_key()), lambda: 0.0)
    return registry.add(made.draft, made.files, by="test", reason="tampered", version="3")


def judged(world: World, candidate: Bundle, again: Scorer) -> Release:
    known = compare_versions(candidate, world.registry.load("1"))
    return judge_candidate(known, candidate, None, {}, 0, again)


def test_training_again_gives_the_version_itself(world: World, again: Scorer) -> None:
    bundle = world.registry.load("2")
    own, rows = bundle.scorer(), bundle.reference()
    assert own is not None
    assert rows is not None
    assert again(rows.x) == pytest.approx(own(rows.x), abs=1e-4)


def test_a_version_that_is_what_its_buffer_gives_passes(world: World, again: Scorer) -> None:
    release = judged(world, world.registry.load("2"), again)
    checks = {check.name: check for check in release.checks}
    assert checks["reproduced_harm.attack"].passed
    assert any("gives the same scores" in remark for remark in release.remarks)


def test_a_version_that_is_worse_than_what_its_buffer_gives_does_not(
    world: World, again: Scorer, other: Bundle
) -> None:
    release = judged(world, other, again)
    assert release.result == "rejected"
    assert "reproduced_harm.attack" in {check.name for check in release.checks if not check.passed}
    assert any("its weights were changed" in remark for remark in release.remarks)
    assert any("of the trusted rows otherwise" in remark for remark in release.remarks)


def test_a_version_that_its_rows_made_worse_says_so(world: World, other: Bundle) -> None:
    own = other.scorer()
    assert own is not None
    release = judged(world, other, own)
    assert {check.name for check in release.checks if not check.passed} == {"reference_harm.attack"}
    assert any("the rows made it so" in remark for remark in release.remarks)


def test_what_is_neither_as_bad_nor_clearly_better_is_left_open(world: World, other: Bundle) -> None:
    """That no difference is seen does not mean that there is none."""
    known = compare_versions(other, world.registry.load("1"))
    own, good, rows = other.scorer(), known.score_g, known.reference
    assert own is not None
    assert good is not None
    assert rows is not None
    rows = rows.take(np.unique(rows.session, return_index=True)[1])
    wrong, better = (np.argmax(s(rows.x), axis=1) != rows.y for s in (own, good))
    harmed = np.flatnonzero(wrong & ~better)[:36]  # z is 6
    holdout = rows.take(np.concatenate([harmed, np.flatnonzero(wrong == better)]))
    half = {row.tobytes() for row in rows.x[harmed[::2]]}

    def again(x: Floats) -> Floats:
        return np.where(np.array([row.tobytes() in half for row in x])[:, None], own(x), good(x))

    release = judge_candidate(known, other, holdout, {}, 0, again)
    assert {check.name for check in release.checks if not check.passed} == {"holdout_harm.attack"}
    assert any("that is open" in remark for remark in release.remarks)
    assert not any("the rows made it so" in remark for remark in release.remarks)


def test_a_version_that_was_trained_elsewhere_cannot_be_made_again(world: World) -> None:
    bundle = world.registry.load("2")
    registry = MemoryRegistry(NAME, Keys.of(new_signing_key()), lambda: 0.0)
    draft = Draft(classes=bundle.manifest.classes, features=bundle.manifest.features)
    elsewhere = registry.add(draft, {}, by="test", reason="imported")
    with pytest.raises(RetrainRefusedError, match="was not trained by Tocsin"):
        reproduced(elsewhere, kept(world, "2"), "cpu", lambda *_: None)


def test_the_command_reproduces_where_it_is_told_to(world: World, tmp_path: Path, run: Run) -> None:
    root = str(world.root / "registry")
    arguments = ["--registry", root, "--name", NAME, "--candidate", "1", "--out", str(tmp_path / "gate.json")]
    code, _, said = run("gate", *arguments, "--reproduce", "--quick")
    assert code == 0, said
    names = {check["name"] for check in json.loads((tmp_path / "gate.json").read_text())["checks"]}
    assert {"reproduced_harm.attack", "reproduced_harm.benign"} <= names
