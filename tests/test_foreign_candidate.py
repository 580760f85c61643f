"""A candidate that was made elsewhere on trial: what it is compared with, and what its buffer tells."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from sanitise_traffic import silent, traffic, trees
from small_registry import REQUEST, Small, flows, make_small, poisoned

from rollback.bundle import Bundle
from rollback.gates.gate import judge
from rollback.gates.trial import GateError, Trial
from rollback.registry.registry import Buffer
from rollback.retraining.foreign import Asked, Contenders, family, put_on_trial, screened
from rollback.retraining.rehearsal import Rehearse, rehearse
from rollback.sanitise.rows import Rows
from rollback.sanitise.sanitise import sanitise
from rollback.tables.table import Table
from rollback.train.version import add_version, train_version

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    made = make_small(tmp_path_factory.mktemp("small"))
    columns, _ = poisoned(flows(700, 5), 0.05)
    data = Table("poisoned", columns, np.arange(700))
    bad = train_version(data, REQUEST, lambda *_: None)
    buffer = Buffer(made.buffer, "label", "source", "session")
    add_version(made.registry, bad, data, REQUEST, buffer=buffer.path, version=None, by="test", reason="bad")
    return made


def contenders(small: Small, candidate: str = "2") -> Contenders:
    registry = small.registry
    return Contenders(registry.load(candidate), registry.load("1"), registry.buffer(candidate), registry.buffer("1"))


def test_a_poisoned_candidate_with_its_buffer_does_not_pass(small: Small) -> None:
    tried = put_on_trial(contenders(small), Asked(), silent)
    said = judge(tried.trial, seed=0)
    assert said.result in {"vetting", "rejected"}
    assert tried.trial.suspects
    assert any("trained by recipe mlp" in remark for remark in tried.remarks)
    told = Asked(answers={ident: 0 for ident, _ in tried.asks})  # a labeller who calls all of them attacks
    again = put_on_trial(contenders(small), told, silent)
    assert judge(again.trial, seed=0).result == "rejected"


def test_last_known_good_itself_has_no_row_that_is_new_and_passes(small: Small) -> None:
    tried = put_on_trial(contenders(small, "1"), Asked(), silent)
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
    with pytest.raises(GateError, match="version 2 has no model: add it with tocsin registry add --onnx"):
        put_on_trial(replace(pair, candidate=replace(pair.candidate, manifest=bare_manifest)), Asked(), silent)
    bare = {name: content for name, content in pair.lkg.files.items() if name != "reference.npz"}
    with pytest.raises(GateError, match="0 trusted rows to train models to compare with"):
        put_on_trial(replace(pair, known=None, lkg=replace(pair.lkg, files=bare)), Asked(), silent)


def trial(base: Rows, held: Rows) -> Trial:
    models = [trees(base, i) for i in range(3)]
    return Trial(models[0], models[0], models[1:], held)


def test_rows_of_a_clean_buffer_are_no_suspects_and_ask_nothing() -> None:
    base, new = traffic(4, 1200, 800)
    ids = np.arange(len(new)).astype(np.str_)
    tried = screened(trial(base, new), base, new, ids, trees, Asked(), silent)
    assert tried.trial.suspects == ()
    assert tried.asks == ()


def test_a_rehearsal_plants_known_poison_and_tells_what_the_pipeline_left_of_it() -> None:
    base, new = traffic(4, 1200, 800)
    _, held = traffic(6, 400, 800)
    told: list[str] = []
    what = Rehearse(base, new, held, trees, sanitise)
    campaigns = rehearse(what, 2, 0, lambda step, _: told.append(step))
    assert {c.name.split("_")[0] for c in campaigns} <= {"backdoor", "flips"}
    assert campaigns
    assert all(c.planted > 0 and 0 <= c.caught <= c.planted for c in campaigns)
    assert all(0 <= share <= 1 for c in campaigns for share in (c.before, c.after, c.clean))
    assert any("s left" in step for step in told)
    assert rehearse(what, 2, 0, silent) == campaigns
