"""Bad buffers: what is refused and in which words, what is done with the rest, and what is said about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_registry import NAME, Small, make_small

from monitor.cli.main import main
from rollback.tables.table import read_table, write_table

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
pytest.importorskip("pyarrow", reason="the outputs are Parquet: pip install 'tocsin[data]'")

Columns = dict[str, Any]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("bad"), rows=700)


@pytest.fixture(scope="module")
def columns(small: Small) -> Columns:
    return {name: np.asarray(c) for name, c in read_table(small.buffer, text=["id"]).columns.items()}


def retrain(small: Small, buffer: Path, out: Path, *more: object) -> int | str | None:
    options = ["--label", "label", "--source", "source", "--session", "session", "--device", "cpu", *more]
    fixed = ["retrain", "--registry", small.root / "registry", "--name", NAME, "--buffer", buffer, "--out", out]
    with pytest.raises(SystemExit) as stopped:
        main([str(part) for part in [*fixed, *options]], {})
    return stopped.value.code


def written(folder: Path, columns: Columns, name: str = "rows.parquet") -> Path:
    write_table(folder / name, columns)
    return folder / name


def some(columns: Columns, rows: Any) -> Columns:
    return {name: column[rows] for name, column in columns.items()}


def bytes_of(content: bytes, name: str) -> Callable[[Small, Columns, Path], Path]:
    def make(small: Small, columns: Columns, folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def changed(change: Callable[[Columns], Columns]) -> Callable[[Small, Columns, Path], Path]:
    return lambda _, columns, folder: written(folder, change(columns))


def cut_short(small: Small, columns: Columns, folder: Path) -> Path:
    content = small.buffer.read_bytes()
    return bytes_of(content[: len(content) // 2], "rows.parquet")(small, columns, folder)


def corrupt(small: Small, columns: Columns, folder: Path) -> Path:
    content = bytearray(small.buffer.read_bytes())
    content[200:4000] = np.random.default_rng(0).bytes(3800)
    return bytes_of(bytes(content), "rows.parquet")(small, columns, folder)


def a_folder(small: Small, columns: Columns, folder: Path) -> Path:
    (folder / "rows.parquet").mkdir()
    return folder / "rows.parquet"


def unreadable(small: Small, columns: Columns, folder: Path) -> Path:
    """A file that opens and does not read, whoever asks."""
    (folder / "rows.csv").symlink_to("/proc/self/mem")
    return folder / "rows.csv"


JUNK = np.random.default_rng(1).bytes(3000)
REFUSED: dict[str, tuple[Callable[[Small, Columns, Path], Path], str]] = {
    "no rows": (changed(lambda c: some(c, slice(0, 0))), "has no rows"),
    "an empty file": (bytes_of(b"", "rows.csv"), "line 1: the header must name every column once"),
    "a header alone": (bytes_of(b"label,source,session\n", "rows.csv"), "rows.csv"),
    "a label never seen": (
        changed(lambda c: {**c, "label": np.where(np.arange(len(c["id"])) == 5, "worm", c["label"])}),
        "row 6, column 'label': label 'worm' is none of the classes attack, benign",
    ),
    "a label that only looks alike": (
        changed(lambda c: {**c, "label": np.where(np.arange(len(c["id"])) == 5, "benign\u200b", c["label"])}),
        "label 'benign\\u200b' is none of the classes",
    ),
    "a column that is absent": (
        changed(lambda c: {name: column for name, column in c.items() if name != "ttl"}),
        "no column 'ttl'",
    ),
    "an infinite number": (
        changed(lambda c: {**c, "ttl": np.where(np.arange(len(c["id"])) == 7, np.inf, c["ttl"])}),
        "row 8, column 'ttl': the number is infinite",
    ),
    "text among numbers": (
        changed(lambda c: {**c, "ttl": np.where(np.arange(len(c["id"])) == 7, "many", "64")}),
        "row 8, column 'ttl': 'many' is no number",
    ),
    "junk as parquet": (bytes_of(JUNK, "rows.parquet"), "is no Parquet file"),
    "junk as csv": (bytes_of(JUNK, "rows.csv"), "is no UTF-8 text"),
    "junk as ndjson": (bytes_of(JUNK, "rows.ndjson"), "is no UTF-8 text"),
    "junk as zst": (bytes_of(JUNK, "rows.csv.zst"), "cannot be read"),
    "a file that was cut short": (cut_short, "is no Parquet file"),
    "a file with a hole": (corrupt, "cannot be read"),
    "a folder": (a_folder, "is no training store: there is no index.ndjson"),
    "a file that is not there": (lambda _s, _c, folder: folder / "rows.csv", "No such file"),
    "a file that cannot be read": (unreadable, "Input/output error"),
    "a name without a format": (bytes_of(b"a,b\n", "rows.doc"), "the name must end in"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_used_is_refused_in_words_and_nothing_is_added(
    small: Small, columns: Columns, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    make, message = REFUSED[what]
    before = small.registry.history()
    assert retrain(small, make(small, columns, tmp_path), tmp_path / "out") == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("tocsin: ")
    assert "Error: " not in said.err  # in our words, and not by the type of what went wrong
    assert said.out == ""
    assert small.registry.history() == before
    assert not (tmp_path / "out" / "candidate.json").exists()


TOLERATED: dict[str, tuple[Callable[[Columns], Columns], str]] = {
    "one class": (lambda c: some(c, c["label"] == "benign"), "new rows are labelled benign: of other classes"),
    "an empty column": (
        lambda c: {**c, "ttl": np.full(len(c["id"]), np.nan)},
        "no new row has a known value of ttl, which the trusted base has",
    ),
    "one source with 95%": (
        lambda c: {**c, "source": np.where(np.arange(len(c["id"])) % 20 > 0, "big", c["source"])},
        "source big supplies 95% of the new rows",
    ),
    "one id for all": (lambda c: {**c, "id": np.full(len(c["id"]), "same")}, "699 new rows have the id of another row"),
    "no labels": (lambda c: {**c, "label": np.full(len(c["id"]), "")}, "no row of the buffer is left to be screened"),
    "one row": (lambda c: some(c, slice(0, 1)), ""),
    "two sessions": (lambda c: some(c, np.isin(c["session"], np.unique(c["session"])[:2])), ""),
    "invisible names": (
        lambda c: {
            **c,
            "source": np.where(np.arange(len(c["id"])) % 2 > 0, "s\u200b1", "s1 \U0001f480\u202e"),
            "session": np.char.add("\u200b", c["session"]),
        },
        "",
    ),
    "enormous numbers": (
        lambda c: {**c, "ttl": np.where(np.arange(len(c["id"])) % 3 == 0, 1e308, -1e308)},
        "",
    ),
}


@pytest.mark.parametrize("what", TOLERATED)
def test_what_is_odd_is_said_and_ends_with_a_candidate_and_every_row_accounted_for(
    small: Small, columns: Columns, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    change, remark = TOLERATED[what]
    given = change(columns)
    code = retrain(small, written(tmp_path, given), tmp_path / "out")
    said = capsys.readouterr().err
    assert code in {0, 1, 3}
    gate = json.loads((tmp_path / "out" / "gate.json").read_bytes())
    assert {"passed": 0, "rejected": 1, "vetting": 3}[gate["result"]] == code
    assert remark in said
    assert any(remark in each for each in gate["remarks"]) or not remark
    rows = [len(read_table(tmp_path / "out" / f"{name}.parquet")) for name in ("removed", "retained")]
    assert sum(rows) == len(given["id"])
    assert small.registry.pointers().serving == "1"


def test_a_buffer_in_which_every_label_is_wrong_gives_no_candidate_that_passes(
    small: Small, columns: Columns, tmp_path: Path
) -> None:
    wrong = np.where(columns["label"] == "attack", "benign", "attack")
    assert retrain(small, written(tmp_path, {**columns, "label": wrong}), tmp_path / "out") in {1, 3}
    assert not json.loads((tmp_path / "out" / "gate.json").read_bytes())["passed"]


def test_an_answer_for_an_id_that_different_rows_share_vouches_for_none_of_them(
    small: Small, columns: Columns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = {**columns, "id": np.where(np.arange(len(columns["id"])) < 50, "shared", columns["id"])}
    answers = tmp_path / "answers.ndjson"
    answers.write_text('{"id": "shared", "label": "benign"}\n')
    retrain(small, written(tmp_path, shared), tmp_path / "out", "--vetting", answers)
    assert "1 answers were not taken: rows that look different share their ids" in capsys.readouterr().err
    judged = [read_table(tmp_path / "out" / f"{name}.parquet", text=["id"]) for name in ("removed", "retained")]
    assert sum(int(np.sum(table.strings("id") == "shared")) for table in judged) == 50  # screened, and not believed


def test_no_trusted_base_is_refused_with_the_reason(
    tmp_path: Path, columns: Columns, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = make_small(tmp_path / "bare", rows=300, keep_buffer=False)
    assert retrain(bare, written(tmp_path, columns), tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "there is no trusted base to train from" in said
    assert "add it with registry add --buffer, or say with --trusted which rows are believed" in said


def test_a_fault_in_one_source_is_repaired_before_the_screens_and_the_old_values_are_kept(
    small: Small, columns: Columns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, session = np.unique(columns["session"], return_inverse=True)
    own = session % 2 == 0
    given = {**columns, "source": np.where(own, "broken", "sound"), "ttl": np.where(own, 1000, 1) * columns["ttl"]}
    retrain(small, written(tmp_path, given), tmp_path / "out")
    table = read_table(tmp_path / "out" / "repaired.parquet", text=["id"])
    assert set(table.columns) == {"id", "feature", "before", "after", "repair", "why"}
    assert set(table.strings("id").tolist()) == set(columns["id"][own].tolist())
    assert set(table.strings("feature").tolist()) == {"ttl"}
    assert set(table.strings("repair").tolist()) == {"unit"}
    np.testing.assert_allclose(table.floats("before"), 1000 * table.floats("after"))
    assert "ttl of source broken" in capsys.readouterr().err
    made = json.loads((tmp_path / "out" / "candidate.json").read_bytes())["version"]
    repairing = small.registry.load(made).manifest.lineage["retrain"]["repairing"]
    assert repairing["by_repair"] == {"unit": len(table)}
    report = json.loads((tmp_path / "out" / "batches.json").read_bytes())
    assert {(f["source"], f["feature"]) for f in report["findings"] if f["done"]} == {("broken", "ttl")}
