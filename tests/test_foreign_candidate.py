"""A candidate that was made elsewhere on trial: what it is compared with, and what its buffer tells."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sanitise_traffic import backdoored, silent, traffic, trees
from score_material import ATTACK, BASE, BENIGN, NEW, rows
from small_registry import NAME, Small, make_small

from rollback.bundle import Bundle
from rollback.gates.gate import judge
from rollback.gates.trial import GateError, Trial
from rollback.retraining.foreign import Asked, Contenders, family, put_on_trial, screened
from rollback.sanitise.rows import Rows

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("small"))


def contenders(small: Small, candidate: str = "1") -> Contenders:
    registry = small.registry
    return Contenders(registry.load(candidate), registry.load("1"), registry.buffer(candidate), registry.buffer("1"))


def test_last_known_good_itself_has_no_row_that_is_new_and_passes(small: Small) -> None:
    tried = put_on_trial(contenders(small), Asked(), silent)
    assert tried.asks == ()
    assert any(remark.startswith("0 of ") for remark in tried.remarks)
    assert judge(tried.trial, seed=0).result == "passed"


def test_the_recipe_is_the_candidates_own_else_a_network(small: Small) -> None:
    pair = contenders(small)
    assert family(pair.candidate, pair.lkg) == "mlp"

    def unknown(bundle: Bundle) -> Bundle:
        return replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, recipe={}))

    assert family(unknown(pair.candidate), unknown(pair.lkg)) == "mlp"


def test_without_a_base_or_a_model_it_is_said_what_is_missing(small: Small) -> None:
    pair = contenders(small)
    bare_manifest = msgspec.structs.replace(pair.candidate.manifest, onnx=None)
    with pytest.raises(GateError, match="version 1 has no model: add it with tocsin registry add --onnx"):
        put_on_trial(replace(pair, candidate=replace(pair.candidate, manifest=bare_manifest)), Asked(), silent)
    bare = {name: content for name, content in pair.lkg.files.items() if name != "reference.npz"}
    with pytest.raises(GateError, match="0 trusted rows to train models to compare with"):
        put_on_trial(replace(pair, known=None, lkg=replace(pair.lkg, files=bare)), Asked(), silent)


def test_the_command_tries_a_candidate_and_writes_a_page(small: Small, tmp_path: Path) -> None:
    out = tmp_path / "gate.json"
    command = [sys.executable, "-m", "monitor", "gate", "--registry", small.root / "registry", "--name", NAME]
    done = subprocess.run(
        [*map(str, [*command, "--candidate", "1", "--out", out])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["error_budget"] == 0.02
    assert {"accuracy_loss", "slice_flips"} <= {c["name"] for c in result["checks"]}
    assert all(c["why"] for c in result["checks"] if c["name"] != "canaries")
    assert "live_window" in {s["name"] for s in result["skipped"]}
    assert "accuracy_loss" in out.with_suffix(".html").read_text()
    assert re.search(r"accuracy_loss +\S+ +\S+ +\S+ +passed", done.stdout)
    assert done.stdout.splitlines()[-1] == "passed"


def trial(base: Rows, held: Rows) -> Trial:
    models = [trees(base, i) for i in range(3)]
    return Trial(models[0], models[0], models[1:], held)


def test_a_poisoned_candidate_with_its_buffer_does_not_pass_and_is_rejected_once_rows_are_labelled() -> None:
    base, new = traffic(4, 2000, 1000)
    _, held = traffic(6, 400, 800)
    lies, poison, _ = backdoored(new, 0.03, 0)
    ids = np.arange(len(new)).astype(np.str_)
    bad = replace(trial(base, held), candidate=trees(Rows.concat([base, lies]), 9))
    tried = screened(bad, base, lies, ids, trees, Asked(), silent)
    assert tried.trial.suspects
    assert judge(tried.trial, seed=0).result in {"vetting", "rejected"}
    assert tried.asks
    assert np.mean(poison[[int(ident) for ident, _ in tried.asks]]) > 0.5
    truth = {str(i): int(new.y[i]) for i in range(len(new))}
    again = screened(bad, base, lies, ids, trees, Asked(answers=truth), silent)
    assert judge(again.trial, seed=0).result == "rejected"


def test_rows_of_a_clean_buffer_are_no_suspects_and_ask_nothing() -> None:
    base, new = traffic(4, 1200, 800)
    ids = np.arange(len(new)).astype(np.str_)
    tried = screened(trial(base, new), base, new, ids, trees, Asked(), silent)
    assert tried.trial.suspects == ()
    assert tried.asks == ()


def test_benign_rows_of_one_source_that_contradict_the_base_hold_a_candidate_also_once_they_are_confirmed() -> None:
    base, new = rows(BASE, 5), rows(NEW, 1005)
    held = rows(NEW, 8)
    moved = (new.source == "s2") & (new.y == ATTACK) & (np.random.default_rng(0).random(NEW) < 0.4)
    odd = replace(new, y=np.where(moved, BENIGN, new.y))  # as clean-label poison: attacks' values, and no others' label
    ids = np.arange(NEW).astype(np.str_)
    bad = Trial(
        trees(Rows.concat([base, odd]), 9), trees(base, 0), [trees(base, 1), trees(base, 2)], held, benign=BENIGN
    )
    tried = screened(bad, base, odd, ids, trees, Asked(), silent)
    (suspect,) = [s for s in tried.trial.suspects or () if s.pattern is None]
    assert suspect.what == "labelled benign from s2: what screens remove besides"
    assert judge(tried.trial, seed=0).result == "vetting"
    confirmed = {str(i): int(odd.y[i]) for i in range(NEW)}
    again = screened(bad, base, odd, ids, trees, Asked(answers=confirmed), silent)
    assert again.asks == ()
    said = judge(again.trial, seed=0)
    assert said.result == "vetting"
    assert any(not c.passed and c.name == f"buffer_suspects.{suspect.name}" for c in said.checks)
