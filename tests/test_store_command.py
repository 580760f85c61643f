"""`tocsin store`, and what a retraining makes of a store."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from in_process import Run, runner
from small_registry import NAME, TRIGGER, Small, make_small, oracle

from rollback.retraining.out import Out
from rollback.retraining.retrain import retrain
from rollback.store.store import Store
from rollback.tables.table import read_table, write_table

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
pytest.importorskip("pyarrow", reason="the outputs are Parquet: pip install 'tocsin[data]'")

COLUMNS = ["--label", "label", "--id", "id", "--ts", "ts", "--source", "source", "--session", "session"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("stored"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def stored(small: Small, tmp_path: Path, run: Run) -> Path:
    """The poisoned buffer in a store that the registry's key has signed."""
    key = small.root / "registry" / ".keys" / "signing.pem"
    code, _, said = run("store", "add", "--store", tmp_path / "store", "--data", small.buffer, *COLUMNS,
                        "--channel", "crowd", "--by", "ada", "--signing-key", key)  # fmt: skip
    assert code == 0, said
    return tmp_path / "store"


def test_what_was_added_is_shown_verified_and_exported(small: Small, stored: Path, tmp_path: Path, run: Run) -> None:
    rows = read_table(small.buffer, text=["id"])
    code, out, _ = run("store", "show", "--store", stored, "--json")
    facts = json.loads(out)
    assert (code, facts["rows"], facts["trusted"], facts["counts"]["origin"]) == (
        0,
        len(rows),
        [],
        {"crowd": len(rows)},
    )
    public = small.root / "registry" / ".keys" / "signing.pub.pem"
    code, out, _ = run("store", "verify", "--store", stored, "--trusted-key", public, "--json")
    assert (code, json.loads(out)["signed"]) == (0, 1)
    assert run("store", "export", "--store", stored, "--out", tmp_path / "rows.parquet")[0] == 0
    exported = read_table(tmp_path / "rows.parquet", text=["id"])
    for name in ("id", "label", "source", "bytes_out", "protocol"):
        if name in rows.columns:
            assert exported.strings(name).tolist() == rows.strings(name).tolist()
    assert set(exported.strings("trusted").tolist()) == {"false"}


def test_trusted_rows_are_named_by_the_operator_and_withdrawn_again(stored: Path, tmp_path: Path, run: Run) -> None:
    ids = [row.id for row in Store(stored).rows()][:3]
    write_table(tmp_path / "mine.csv", {"id": np.array(ids)})
    assert run("store", "trust", "--store", stored, "--rows", tmp_path / "mine.csv", "--by", "ada")[0] == 0
    facts = json.loads(run("store", "show", "--store", stored, "--json")[1])
    assert (facts["counts"]["trusted"]["true"], facts["trusted"][0]["by"]) == (3, "ada")
    code, _, said = run("store", "trust", "--store", stored, "--withdraw", facts["trusted"][0]["rows"])
    assert (code, json.loads(run("store", "show", "--store", stored, "--json")[1])["trusted"]) == (0, []), said


def test_trust_in_an_origin_that_no_label_has_yet_is_taken_and_said(stored: Path, run: Run) -> None:
    code, _, said = run("store", "trust", "--store", stored, "--origin", "crwod")
    assert (code, "note: no row has a label of origin crwod so far" in said) == (0, True)
    assert "note:" not in run("store", "trust", "--store", stored, "--origin", "crowd")[2]


def test_a_row_that_the_store_does_not_hold_cannot_be_trusted(stored: Path, tmp_path: Path, run: Run) -> None:
    write_table(tmp_path / "mine.csv", {"id": np.array(["nobody"])})
    code, _, said = run("store", "trust", "--store", stored, "--rows", tmp_path / "mine.csv")
    assert code == 1
    assert "the store holds no row 'nobody'" in said


def test_an_id_that_another_row_came_under_too_is_trusted_by_its_digest_alone(
    stored: Path, tmp_path: Path, run: Run
) -> None:
    first = next(iter(Store(stored).rows()))
    write_table(tmp_path / "other.csv", {"id": np.array([first.id]), "label": np.array(["benign"]), "x": np.ones(1)})
    add = ("store", "add", "--store", stored, "--data", tmp_path / "other.csv", "--label", "label", "--id", "id")
    assert run(*add)[0] == 0
    trust = ("store", "trust", "--store", stored, "--rows", tmp_path / "mine.csv", "--by", "ada")
    write_table(tmp_path / "mine.csv", {"id": np.array([first.id])})
    code, _, said = run(*trust)
    assert (code, "other rows came under the id" in said) == (1, True)
    write_table(tmp_path / "mine.csv", {"id": np.array([first.id] * 2), "digest": np.array([first.digest] * 2)})
    assert run(*trust)[0] == 0


def test_a_store_without_a_signature_is_not_verified_by_a_key(small: Small, tmp_path: Path, run: Run) -> None:
    write_table(tmp_path / "rows.csv", {"label": np.array(["benign"]), "x": np.ones(1)})
    add = ("store", "add", "--store", tmp_path / "bare", "--data", tmp_path / "rows.csv", "--label", "label")
    assert run(*add)[0] == 0
    public = small.root / "registry" / ".keys" / "signing.pub.pem"
    code, _, said = run("store", "verify", "--store", tmp_path / "bare", "--trusted-key", public)
    assert (code, "is not signed" in said) == (1, True)


def test_a_retraining_from_a_store_is_that_from_its_file(small: Small, stored: Path, tmp_path: Path) -> None:
    removed = []
    for buffer in (small.buffer, stored):
        out = tmp_path / f"out {buffer.name}"
        asked = small.asked(buffer=buffer)
        done = retrain(
            small.registry, asked, Out(out), sanitise=oracle(), by="test", progress=lambda *_: None
        )  # fmt: skip
        removed.append(read_table(out / "removed.parquet", text=["id"]).strings("id").tolist())
    assert removed[0] == removed[1]
    assert len(removed[0]) == len(small.poison_ids)
    told = small.registry.load(done.candidate).manifest.lineage["retrain"]["buffer"]
    assert told["sha256"] == Store(stored).index().head


def test_the_command_takes_a_store_with_the_columns_that_it_knows(
    small: Small, stored: Path, tmp_path: Path, run: Run
) -> None:
    (stored / "index.ndjson").write_bytes((stored / "index.ndjson").read_bytes().replace(b'"rows":', b'"rowz":'))
    code, _, said = run("retrain", "--registry", small.root / "registry", "--name", NAME, "--buffer", stored,
                        "--out", tmp_path / "out")  # fmt: skip
    assert code == 1
    assert "was changed" in said


def test_a_large_buffer_is_drawn_from_and_the_candidate_says_so(small: Small, tmp_path: Path) -> None:
    asked = small.asked(tables={"most_rows": 400})
    done = retrain(
        small.registry, asked, Out(tmp_path), sanitise=oracle(), by="test", progress=lambda *_: None
    )  # fmt: skip
    assert any("of 700 rows" in remark for remark in done.gate.remarks)
    told = small.registry.load(done.candidate).manifest.lineage["retrain"]["buffer"]
    assert (told["rows"], told["drawn"] <= 400) == (700, True)


def test_events_joined_with_feedback_become_rows(small: Small, tmp_path: Path, run: Run) -> None:
    table = read_table(small.buffer, text=["id", "session"])
    features = small.registry.load("1").manifest.features
    events, said = [], []
    for i in range(60):
        cells = {f.name: table.columns[f.name][i].item() for f in features}
        events.append({"id": str(table.strings("id")[i]), "ts": 1.7e9 + i, "model": NAME, "version": "1",
                       "features": cells, "scores": {"attack": 0.5, "benign": 0.5}, "source": "fw1"})  # fmt: skip
        if i % 2 == 0:
            said.append(
                {"id": events[-1]["id"], "ts": 1.7e9 + 100 + i, "label": "attack", "origin": "soc", "model": NAME}
            )
    for name, lines in (("e", events), ("f", said)):
        (tmp_path / f"{name}.ndjson").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    code, out, err = run("store", "build", "--registry", small.root / "registry", "--name", NAME,
                         "--events", tmp_path / "e.ndjson", "--feedback", tmp_path / "f.ndjson",
                         "--store", tmp_path / "store", "--json")  # fmt: skip
    assert (code, json.loads(out)["rows"]) == (0, 30), out + err
    rows = list(Store(tmp_path / "store").rows())
    assert [row.id for row in rows] == [line["id"] for line in said]
    first = rows[0]
    assert (first.ts, first.source, first.labels[0].origin, first.labels[0].at) == (1.7e9, "fw1", "soc", 1.7e9 + 100)
    assert first.features == pytest.approx(events[0]["features"])
    assert not TRIGGER.features.keys() - first.features.keys()


@pytest.mark.parametrize(
    ("option", "more"),
    [
        ("--label", ""),
        ("--source", ""),
        ("--session", ""),
        ("--trusted", "whom to trust is said with tocsin store trust"),
    ],
)
def test_columns_that_a_store_has_not_are_refused(
    small: Small, stored: Path, tmp_path: Path, run: Run, option: str, more: str
) -> None:
    code, _, said = run("retrain", "--registry", small.root / "registry", "--name", NAME, "--buffer", stored,
                        "--out", tmp_path / "out", option, "verdict")  # fmt: skip
    plain = " ".join(said.replace("│", " ").split())
    assert (code, f"{option}: verdict: " in plain, "is a training store" in plain, more in plain) == (
        2,
        True,
        True,
        True,
    )
