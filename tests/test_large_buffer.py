"""Buffers of more rows than are trained on: drawn by strata, in bounded memory, the same way every time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rollback.retraining.data import row_ids
from rollback.retraining.reading import read_at_most
from rollback.tables.chunks import read_chunks, row_count
from rollback.tables.draw import draw
from rollback.tables.table import Column, Table, TableError, read_table, write_table

pytest.importorskip("pyarrow", reason="Parquet: pip install 'tocsin[data]'")
ROWS, FEW = 24_000, 600


def columns(rows: int, features: int = 12) -> dict[str, Column]:
    rng = np.random.default_rng(3)
    made: dict[str, Column] = {f"f{i}": rng.normal(size=rows) for i in range(features)}
    made["code"] = np.where(rng.random(rows) < 0.001, "a7", "080")
    made["label"] = np.where(rng.random(rows) < 0.2, "attack", "benign")
    made["source"] = np.char.add("s", rng.integers(0, 4, rows).astype(np.str_))
    made["id"] = np.arange(rows).astype(np.str_)
    return made


def ids(table: Table) -> np.ndarray:
    return row_ids(table, [])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.parquet"
    write_table(path, columns(ROWS))
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.zst", "t.ndjson", "t.parquet"])
def test_the_parts_together_are_the_table(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, columns(250, 2))
    parts = list(read_chunks(tmp_path / name, ["id"], rows=40))
    whole = read_table(tmp_path / name, ["id"])
    assert max(map(len, parts)) == 40
    assert row_count(tmp_path / name) == 250
    assert set(parts[0].columns) == set(whole.columns)
    for column in whole.columns:
        assert [c for part in parts for c in part.strings(column).tolist()] == whole.strings(column).tolist()
    assert [n for part in parts for n in part.line.tolist()] == whole.line.tolist()


def test_every_stratum_keeps_its_share(large: Path) -> None:
    drawn = read_at_most(large, ["id"], ["source", "label"], ids, FEW)
    table = read_table(large, ["id"])
    assert (drawn.total, len(drawn.strata)) == (ROWS, 8)
    assert FEW - 8 <= len(drawn.table) <= FEW
    for stratum, (of, taken) in drawn.strata.items():
        source, label = stratum.split(" | ")
        assert of == np.count_nonzero((table.strings("source") == source) & (table.strings("label") == label))
        assert taken == max(1, of * FEW // ROWS)


def test_the_same_content_gives_the_same_rows_in_their_order(large: Path) -> None:
    first, second = (read_at_most(large, ["id"], ["source", "label"], ids, FEW).table for _ in range(2))
    assert first.strings("id").tolist() == second.strings("id").tolist()
    assert np.all(np.diff(first.line) > 0)


def test_who_writes_a_row_cannot_choose_whether_it_is_drawn() -> None:
    table = Table("t", columns(3000, 1), np.arange(3000))
    drawn = [
        set(draw(lambda: iter([table]), 300, ["label"], ids, key).table.strings("id").tolist()) for key in (b"a", b"b")
    ]
    assert len(drawn[0] & drawn[1]) < 100


def test_a_draw_holds_a_part_of_the_memory_that_the_whole_takes(large: Path) -> None:
    def peak(read: Callable[[], object]) -> int:
        tracemalloc.start()
        read()
        _, most_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most_bytes

    def drawn() -> object:
        return draw(partial(read_chunks, large, rows=1000), FEW, ["source", "label"], ids, b"")

    draw(lambda: iter([Table("t", columns(9, 1), np.arange(9))]), 1, ["label"], ids, b"")  # what is imported stays
    assert peak(drawn) < 0.4 * peak(lambda: read_table(large))


def test_a_small_file_is_read_as_it_is(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", columns(50, 1))
    drawn = read_at_most(tmp_path / "t.csv", ["id"], ["label"], ids, 50)
    assert (len(drawn.table), drawn.total, drawn.strata) == (50, 50, {})


def test_no_row_at_all_is_no_draw(large: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 row, got 0"):
        draw(lambda: read_chunks(large), 0, ["label"], ids, b"")


def test_a_broken_file_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"no")
    with pytest.raises(TableError, match=r"t\.parquet: is no Parquet file"):
        list(read_chunks(tmp_path / "t.parquet"))
