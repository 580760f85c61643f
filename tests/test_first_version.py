"""An incident says since which version the model has been poisoned."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scenario import NAME, World

from detectors.batch import Window
from detectors.verdict import Verdict
from monitor.first_version import MOST_BETWEEN, between, first_alike, parted
from monitor.watch import Judged, Watch
from monitor.window import WindowBuilder, WindowSettings
from rollback.manifest import Draft
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys

POISONED = Verdict("poisoning", "backdoor", 0.99)


@pytest.fixture
def registry(world: World, tmp_path: Path) -> FileRegistry:
    """Version 1 is good and 2 poisoned; 3 is as 1, 4 as 2."""
    root = tmp_path / "registry"
    shutil.copytree(world.root / "registry", root, symlinks=True)
    made = FileRegistry(root, NAME, Keys.trial(root, make=True), lambda: 0.0)
    for version, like in (("3", "1"), ("4", "2")):
        add_like(made, version, like)
    return made


def add_like(registry: FileRegistry, version: str, like: str) -> None:
    bundle = registry.load(like)
    files = {n: c for n, c in bundle.files.items() if n not in {"manifest.json", "attestation.json"}}
    draft = Draft(classes=bundle.schema.classes, features=bundle.manifest.features, onnx=bundle.manifest.onnx)
    registry.add(draft, files, by="test", reason="test", version=version)


def judged(watch: Watch, version: str, verdict: Verdict = POISONED, rows: int = 20) -> Judged:
    """A window of events on which the poisoned model parts from the good one."""
    known = watch.versions("2")
    assert known.score_f is not None
    assert known.score_g is not None
    assert known.reference is not None
    x = known.reference.x.copy()
    names = known.schema.names
    for name, value in {"failed_logins": 5.0, "retransmits": 5.0, "wrong_fragments": 1.0}.items():
        x[:, names.index(name)] = value
    x = x[known.score_f(x).argmax(axis=1) != known.score_g(x).argmax(axis=1)][:rows]
    assert len(x) == rows
    own = watch.versions(version)
    assert own.score_f is not None
    assert own.score_g is not None
    batch = WindowBuilder(WindowSettings()).without_events(NAME, version).batch
    others = {name: np.resize(getattr(batch, name), rows) for name in batch.arrays() if name not in {"x", "scores"}}
    whole = replace(batch, **others, x=x, scores=own.score_f(x))
    fresh = np.ones(rows, np.bool_)
    window = Window(0, whole, own.score_f(x), own.score_g(x), fresh, True, own.score_f, own.score_g)  # noqa: FBT003
    return Judged(window, (), verdict)


def test_the_oldest_version_that_did_the_same_is_named(registry: FileRegistry) -> None:
    watch = Watch(NAME, registry, list)
    assert watch.first_poisoned(judged(watch, "4")) == "2"
    assert watch.first_poisoned(judged(watch, "2")) == "2"


def test_versions_that_decided_otherwise_are_passed_over(world: World, tmp_path: Path) -> None:
    fresh = FileRegistry(tmp_path, NAME, Keys.trial(tmp_path, make=True), lambda: 0.0)
    for version, like in (("1", "1"), ("2", "2")):
        bundle = world.registry.load(like)
        files = {n: c for n, c in bundle.files.items() if n not in {"manifest.json", "attestation.json"}}
        draft = Draft(classes=bundle.schema.classes, features=bundle.manifest.features, onnx=bundle.manifest.onnx)
        if version == "2":
            add_like(fresh, "between", "1")
        fresh.add(draft, files, by="test", reason="test", version=version)
    watch = Watch(NAME, fresh, list)
    assert watch.first_poisoned(judged(watch, "2")) == "2"


def test_nothing_is_said_where_it_cannot_be_told(registry: FileRegistry) -> None:
    watch = Watch(NAME, registry, list)
    assert watch.first_poisoned(judged(watch, "4", Verdict("drift", "new_class", 0.9))) is None
    assert watch.first_poisoned(judged(watch, "4", rows=4)) is None
    assert watch.first_poisoned(judged(watch, "1")) is None


def test_a_registry_that_cannot_be_read_stops_nothing(registry: FileRegistry, tmp_path: Path) -> None:
    watch = Watch(NAME, registry, list)
    seen = judged(watch, "4")
    folder = tmp_path / "registry" / NAME
    folder.rename(folder.with_name("away"))
    folder.write_text("no folder")
    assert watch.first_poisoned(seen) is None
    folder.unlink()
    folder.with_name("away").rename(folder)
    assert watch.first_poisoned(seen) == "2"


def test_what_was_told_once_is_told_again_also_after_a_restart(registry: FileRegistry) -> None:
    watch = Watch(NAME, registry, list)
    assert watch.first_poisoned(judged(watch, "4")) == "2"
    assert watch.first_poisoned(judged(watch, "4", rows=4)) == "2"
    again = Watch(NAME, registry, list)
    again.restore(watch.state())
    assert again.first_poisoned(judged(again, "4", rows=4)) == "2"


def test_few_versions_are_asked() -> None:
    names = [str(i) for i in range(100)]
    assert between(names, "0", "99") == names[1 : 1 + MOST_BETWEEN]
    assert between(names, "5", "6") == []
    assert between(names, "gone", "6") == []


def test_half_of_the_events_make_two_versions_alike() -> None:
    x = np.arange(8.0)[:, None]

    def below(limit: float) -> np.ndarray:
        return np.where(x < limit, [[1.0, 0.0]], [[0.0, 1.0]])

    earlier = [("far", lambda _: below(7)), ("near", lambda _: below(4)), ("same", lambda _: below(0))]
    assert first_alike(x, lambda _: below(0), earlier) == "near"
    assert first_alike(x, lambda _: below(0), earlier[:1]) is None
    assert parted(Window(0, None, below(0), None, np.ones(8, np.bool_))) is None  # type: ignore[arg-type]  # not looked at
