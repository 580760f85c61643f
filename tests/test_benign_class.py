"""The class that lets things pass: an operator's word before any guess, one value everywhere, a guess is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from in_process import Run, runner
from small_registry import NAME, Small, make_small, oracle

from rollback.benign import BenignClassError, benign_class
from rollback.manifest import Draft, FeatureSpec, Manifest
from rollback.retraining.data import RetrainRefusedError
from rollback.retraining.out import Out
from rollback.retraining.retrain import Outcome, retrain
from rollback.sanitise.rows import Sanitised

CLASSES = ("attack", "benign")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
    pytest.importorskip("pyarrow", reason="the outputs are Parquet: pip install 'tocsin[data]'")
    return make_small(tmp_path_factory.mktemp("benign"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def made(small: Small, out: Path, sanitise: Callable[..., Sanitised] | None = None, **asked: Any) -> Outcome:
    return retrain(
        small.registry, small.asked(**asked), Out(out), sanitise=sanitise or oracle(), by="t", progress=lambda *_: None
    )


def test_it_is_the_named_one_else_the_most_frequent_of_the_base() -> None:
    y = np.array([0, 0, 0, 1])
    assert benign_class("benign", y, CLASSES).name == "benign"
    assert benign_class("benign", y, CLASSES).remark is None
    guessed = benign_class(None, y, CLASSES)
    assert (guessed.name, guessed.named) == ("attack", False)
    assert guessed.remark is not None
    assert "--benign attack (or the right one)" in guessed.remark
    with pytest.raises(BenignClassError, match="no class 'good'; there are attack, benign"):
        benign_class("good", y, CLASSES)


def draft(**more: Any) -> Draft:
    return Draft(classes=CLASSES, features=(FeatureSpec("bytes"),), **more)


def test_a_manifest_names_it_or_leaves_it_out_and_older_ones_still_load() -> None:
    told = msgspec.json.encode(draft(benign="benign").manifest("nids", "1", "now"))
    assert msgspec.json.decode(told, type=Manifest).named_benign == "benign"
    silent = msgspec.json.encode(draft().manifest("nids", "1", "now"))
    assert b"benign" not in silent.replace(b'"classes":["attack","benign"]', b"")
    assert msgspec.json.decode(silent, type=Manifest).named_benign is None
    with pytest.raises(ValueError, match="no class 'good'"):
        draft(benign="good").manifest("nids", "1", "now")
    with pytest.raises(msgspec.ValidationError, match="no class 'good'"):
        msgspec.json.decode(told.replace(b'"benign":"benign"', b'"benign":"good"'), type=Manifest)


def test_a_candidate_carries_what_was_named_and_everything_is_given_it(small: Small, tmp_path: Path) -> None:
    seen: list[str | None] = []

    def sanitise(*rows: Any, **named: Any) -> Sanitised:
        seen.append(named["settings"].benign)
        return oracle()(*rows, **named)

    done = made(small, tmp_path / "out", sanitise, benign="attack", rehearse=1)
    manifest = small.registry.load(done.candidate).manifest
    assert set(seen) == {"attack"}
    assert manifest.named_benign == "attack"
    assert manifest.lineage["retrain"]["benign"] == {"name": "attack", "named": True}
    assert not [remark for remark in done.gate.remarks if "lets things pass" in remark]


def test_where_nobody_has_named_it_the_gate_says_what_is_taken_for_it(small: Small, tmp_path: Path) -> None:
    done = made(small, tmp_path / "out")
    manifest = small.registry.load(done.candidate).manifest
    (remark,) = [remark for remark in done.gate.remarks if "lets things pass" in remark]
    assert "'benign' is taken for it" in remark
    assert "--benign benign" in remark
    assert manifest.named_benign is None, "a guess is nobody's word"
    assert manifest.lineage["retrain"]["benign"] == {"name": "benign", "named": False}


def test_another_benign_class_is_another_request(small: Small) -> None:
    assert len({small.asked(benign=name).digest() for name in (None, "attack", "benign")}) == 3


def test_a_name_that_is_no_class_is_refused(small: Small, tmp_path: Path) -> None:
    with pytest.raises(RetrainRefusedError, match="benign: no class 'good'; there are attack, benign"):
        made(small, tmp_path / "out", benign="good")


def test_registry_add_names_it_and_a_further_version_has_that_of_its_parent(tmp_path: Path, run: Run) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("bytes,label\n" + "".join(f"{i},{CLASSES[i % 2]}\n" for i in range(20)))
    add = ["registry", "add", "--registry", tmp_path / "registry", "--name", NAME, "--reference", rows, "--label",
           "label"]  # fmt: skip
    code, _, said = run(*add, "--benign", "good")
    assert code == 2
    assert "no class 'good'" in said
    assert run(*add, "--benign", "attack")[0] == 0
    assert run(*add, "--parent", "1")[0] == 0
    assert run(*add)[0] == 0
    place = ["--registry", tmp_path / "registry", "--name", NAME]
    shown = [run("registry", "show", *place, "--version", str(i), "--json")[1] for i in (1, 2, 3)]
    assert [msgspec.json.decode(text)["benign"] for text in shown] == ["attack", "attack", None]
