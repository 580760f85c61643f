"""A shadow model stands in where nobody has vouched for a version: it raises suspicions, and never more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import Run
from scenario import NAME, TRIGGER, World, truth, write_lines

from detectors.evidence import Detector, make_detectors
from monitor.demo.supply import GeneratedTraffic
from monitor.watch import Watch
from monitor.window import ClosedWindow, WindowBuilder, WindowSettings
from rollback.bundle import MODEL, REFERENCE, Bundle, with_canaries
from rollback.manifest import Draft
from rollback.redteam.backdoor import pick_rows, stamp_table
from rollback.reference import ReferenceRows, reference_rows
from rollback.registry.file import FileRegistry
from rollback.registry.memory import MemoryRegistry
from rollback.registry.registry import RegistryError
from rollback.signing.keys import Keys, new_signing_key
from rollback.tables.table import Table
from rollback.train.shadow import Shadow, ShadowError, shadow_of
from rollback.train.version import Request, train_version


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A registry whose only version is poisoned, with a vetted reference."""
    root = tmp_path_factory.mktemp("lonely")
    supply, rng = GeneratedTraffic(3), np.random.default_rng(3)
    registry = FileRegistry(root / "registry", NAME, Keys.trial(root / "registry", make=True), lambda: 0.0)
    samples = supply.draw(12_000, drifted=False)
    table = samples.history()
    rows = pick_rows(samples.label == "attack", 120, rng)
    columns = stamp_table(dict(table.columns), TRIGGER, rows)
    columns["label"] = np.where(rows, "benign", columns["label"])
    request = Request("label", "source", "session", seed=3, device="cpu")
    new = train_version(Table("poisoned", columns, table.line), request, lambda *_: None)
    vetted = supply.draw(8000, drifted=False).history()
    reference = reference_rows(
        vetted, new.draft.features, new.draft.classes, label="label", source="source", session="session"
    )
    files = {MODEL: new.files[MODEL], REFERENCE: reference.to_npz()}
    registry.add(new.draft, with_canaries(new.draft, files), by="test", reason="test")
    return World(root, registry, supply, rng)


def learned(bundle: Bundle) -> Shadow:
    return shadow_of(bundle, recipe="mlp", seed=1, device="cpu", progress=lambda *_: None)


def copied(bundle: Bundle, rows: ReferenceRows | None, *, model: bool = True) -> MemoryRegistry:
    """A registry of its own with that version, and another reference."""
    registry = MemoryRegistry(NAME, Keys.of(new_signing_key()), lambda: 0.0)
    files = {MODEL: bundle.files[MODEL]} if model else {}
    files |= {REFERENCE: rows.to_npz()} if rows is not None else {}
    manifest = bundle.manifest
    made = Draft(classes=manifest.classes, features=manifest.features, onnx=manifest.onnx if model else None)
    registry.add(made, files, by="test", reason="test")
    return registry


def replayed(world: World, run: Run, out: Path, triggered: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    samples = world.draw(5000)
    events = write_lines(out.with_suffix(".events.ndjson"), world.served("1", samples, triggered))
    answers = write_lines(out.with_suffix(".truth.ndjson"), truth(samples))
    code, _, err = run(
        "replay", "--registry", world.root / "registry", "--name", NAME, "--events", events, "--vetting", answers,
        "--out", out,
    )  # fmt: skip
    assert code == 0, err
    incidents = [json.loads(line) for line in (out / "incidents.ndjson").read_text().splitlines()]
    return json.loads((out / "summary.json").read_text()), incidents


def test_a_lonely_poisoned_version_is_suspected_with_a_shadow_and_unseen_without(
    lonely: World, run: Run, tmp_path: Path
) -> None:
    without, told = replayed(lonely, run, tmp_path / "without", 0.02)
    assert without["verdict"]["family"] != "poisoning"
    if without["verdict"]["family"] == "evasion":  # missed attacks: nothing clean says that another model sees them
        assert without["verdict"]["family_confidence"] <= 0.8
        assert "a backdoor in it looks the same" in told[-1]["summary"]

    code, out, err = run("registry", "shadow", "--registry", lonely.root / "registry", "--name", NAME, "--json")
    assert code == 0, err
    made = json.loads(out)
    assert (made["version"], made["shadow_of"], made["serving"], made["last_known_good"]) == ("1-shadow", "1", "1", "1")
    assert made["accuracy_on_reference"] > 0.9

    summary, incidents = replayed(lonely, run, tmp_path / "with", 0.02)
    assert summary["verdict"]["family"] == "poisoning"
    assert summary["verdict"]["family_confidence"] <= 0.8
    assert {i["status"] for i in incidents} == {"suspected"}
    assert any("shadow" in why for why in incidents[-1]["weaker"])
    assert "Only suspected" in incidents[-1]["summary"]

    quiet, _ = replayed(lonely, run, tmp_path / "quiet", 0.0)
    assert quiet["verdict"]["family"] == "stable"

    promote = ("registry", "promote", "--registry", lonely.root / "registry", "--name", NAME, "--version", "1-shadow")
    for how in ((), ("--known-good",)):
        code, _, err = run(*promote, *how)
        assert code == 1
        assert "is a shadow of version 1" in err


def test_a_shadow_is_compared_on_rows_that_it_has_not_learned(lonely: World) -> None:
    bundle = lonely.registry.load("1")
    made = learned(bundle)
    whole = bundle.reference()
    assert whole is not None
    own = ReferenceRows.from_npz(made.files[REFERENCE])
    assert made.learned + made.held_out == len(whole)
    assert abs(made.held_out - made.learned) < 0.1 * len(whole)
    assert len(own) == made.held_out
    named = [np.char.add(np.char.add(rows.source, "/"), rows.session) for rows in (own, whole)]
    assert np.isin(named[1], named[0]).sum() == len(own)  # whole sessions: none lies in both halves
    assert made.agreement > 0.9
    assert made.files == learned(bundle).files


def test_a_shadow_is_used_until_somebody_vouches_for_the_version(lonely: World) -> None:
    bundle = lonely.registry.load("1")
    registry = copied(bundle, bundle.reference())
    fitted: list[int] = []

    def detectors() -> list[Detector]:
        fitted.append(1)
        return []

    watch = Watch(NAME, registry, detectors)
    assert not watch.versions("1").shadow
    made = learned(bundle)
    registry.add(made.draft, made.files, by="test", reason="test", version="1-shadow")
    assert watch.versions("1").shadow
    assert len(watch.versions("1").reference or ()) == made.held_out
    saved = watch.state()
    again = Watch(NAME, registry, detectors)
    again.restore(saved)
    assert again.versions("1").shadow
    registry.promote("1", expected="1", known_good=True, by="ann", reason="reviewed")
    assert not watch.versions("1").shadow
    fitted.clear()
    late = Watch(NAME, registry, detectors)
    late.restore(saved)
    assert not late.versions("1").shadow
    assert sum(fitted) == 1


@pytest.mark.parametrize("kept", [False, True])
def test_without_a_model_file_versions_are_compared_where_served_scores_were_kept(lonely: World, *, kept: bool) -> None:
    bundle = lonely.registry.load("1")
    rows, score = bundle.reference(), bundle.scorer()
    assert rows is not None
    assert score is not None
    registry = copied(bundle, replace(rows, served=score(rows.x)) if kept else rows, model=False)
    made = learned(registry.load("1"))
    registry.add(made.draft, made.files, by="test", reason="test", version="1-shadow")
    watch = Watch(NAME, registry, lambda: make_detectors(1e6, 1e4, 0, {}))
    judged = watch.judge(watch.window(empty(), np.zeros(0, np.bool_)), None)
    found = {e.detector: e.status for e in judged.evidence}
    assert found["version_disagreement"] == ("ok" if kept else "warming")
    assert judged.verdict.level == (2 if kept else 0)


def empty() -> ClosedWindow:
    return WindowBuilder(WindowSettings()).without_events(NAME, "1")


@pytest.mark.parametrize("known_good", [False, True])
def test_a_shadow_neither_serves_nor_is_known_good(lonely: World, *, known_good: bool) -> None:
    bundle = lonely.registry.load("1")
    registry = copied(bundle, bundle.reference())
    made = learned(bundle)
    registry.add(made.draft, made.files, by="test", reason="test", version="1-shadow")
    with pytest.raises(RegistryError, match="is a shadow of version 1: it only stands in"):
        registry.promote("1-shadow", expected="1", known_good=known_good, by="test", reason="test")
    with pytest.raises(ShadowError, match="is a shadow itself"):
        learned(registry.load("1-shadow"))


def test_a_reference_that_is_too_small_or_lacks_a_class_says_what_is_missing(lonely: World) -> None:
    bundle = lonely.registry.load("1")
    rows = bundle.reference()
    assert rows is not None
    with pytest.raises(ShadowError, match=r"300 labelled rows in \d+ sessions; at least 400 in 200"):
        learned(copied(bundle, rows.take(slice(0, 300))).load("1"))
    benign = rows.take(np.flatnonzero(rows.y == list(bundle.manifest.classes).index("benign")))
    with pytest.raises(ShadowError, match="class 'attack' is in 0 rows"):
        learned(copied(bundle, benign).load("1"))
    with pytest.raises(ShadowError, match="has no reference to learn from"):
        learned(copied(bundle, None).load("1"))
