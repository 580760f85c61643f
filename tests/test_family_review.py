"""A new benign family from the first question to the decision: never dropped and never trusted without a person."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Run, runner
from small_registry import NAME, Small, make_small, oracle

from monitor.reviews import read_evidence
from rollback.retraining.evidence import HeldSlice
from rollback.retraining.out import Out
from rollback.retraining.retrain import Outcome, retrain
from rollback.signing.keys import Keys
from rollback.tables.table import read_table

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
pytest.importorskip("pyarrow", reason="the outputs are Parquet: pip install 'tocsin[data]'")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("family"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def again(small: Small, out: Path, **asked: object) -> Outcome:
    keys = Keys.trial(small.root / "registry", make=True)
    request = small.asked(keys=keys, benign="benign", **asked)
    return retrain(small.registry, request, Out(out), sanitise=oracle(swap=0.1), by="t", progress=lambda *_: None)


@pytest.fixture(scope="module")
def answers(small: Small) -> Path:
    """A labeller says of sixteen rows of the slice that they are what they are said to be."""
    file = small.root / "answers.ndjson"
    rows = [{"id": ident, "label": "benign"} for ident in sorted(small.poison_ids)[:16]]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


@pytest.fixture(scope="module")
def confirmed(small: Small, answers: Path) -> str:
    """The candidate that was made with these answers."""
    return again(small, small.root / "confirmed", vetting=answers).candidate


def held(small: Small, candidate: str) -> list[HeldSlice]:
    found = read_evidence(small.registry.load(candidate))
    assert found is not None
    return list(found.slices)


def removed(out: Path) -> set[str]:
    return set(read_table(out / "removed.parquet", text=["id"]).strings("id").tolist())


def decided(small: Small, run: Run, candidate: str, decision: str) -> Path:
    place = ["--registry", small.root / "registry", "--name", NAME]
    key = small.root / "registry" / ".keys" / "signing.pem"
    code, _, said = run("review", decision, f"{candidate}/1", *place, "--by", "ada", "--reason", "seen",
                        "--signing-key", key)  # fmt: skip
    assert code == 0, said
    return small.root / "registry" / NAME / "reviews" / "decisions.json"


def test_a_confirmed_benign_slice_stays_out_and_holds_the_candidate(small: Small, confirmed: str) -> None:
    (piece,) = held(small, confirmed)
    assert piece.holds
    assert {ident for ident, _ in piece.members} == small.poison_ids
    assert removed(small.root / "confirmed") == small.poison_ids
    assert small.registry.load(confirmed).manifest.gate["result"] in {"vetting", "rejected"}
    assert (small.root / "confirmed" / "vetting.ndjson").read_bytes() == b""


def test_its_page_shows_the_rows_and_that_the_candidate_waits(small: Small, confirmed: str, run: Run) -> None:
    _, text, _ = run("review", "show", f"{confirmed}/1", "--registry", small.root / "registry", "--name", NAME)
    assert "the candidate waits for the decision" in text
    assert f"{len(small.poison_ids)} rows labelled benign" in text
    assert "decided otherwise" in text


@pytest.mark.parametrize("with_answers", [True, False])
def test_accepted_it_is_trained_on_with_its_whole_weight_and_nothing_waits(
    small: Small, confirmed: str, answers: Path, tmp_path: Path, run: Run, *, with_answers: bool
) -> None:
    file = decided(small, run, confirmed, "accept")
    done = again(small, tmp_path / "out", decisions=file, vetting=answers if with_answers else None)
    assert (removed(tmp_path / "out"), held(small, done.candidate)) == (set(), [])
    assert done.gate.result != "vetting"
    rows = read_table(tmp_path / "out" / "retained.parquet", text=["id"])
    own = [w for i, w in zip(rows.strings("id"), rows.floats("weight"), strict=True) if i in small.poison_ids]
    assert len(own) == len(small.poison_ids)
    assert set(own) == {1.0}


def test_rejected_it_stays_out_and_nothing_waits(
    small: Small, confirmed: str, answers: Path, tmp_path: Path, run: Run
) -> None:
    file = decided(small, run, confirmed, "reject")
    done = again(small, tmp_path / "out", decisions=file, vetting=answers)
    assert removed(tmp_path / "out") == small.poison_ids
    assert held(small, done.candidate) == []
    assert done.gate.result != "vetting"
