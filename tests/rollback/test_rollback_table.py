"""Tables are read as columns, and what cannot be read is named by path, line and column."""

from __future__ import annotations

import gzip
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.schema import UNSEEN
from rollback.manifest import FeatureSpec
from rollback.reference import reference_rows
from rollback.tables.append import append_columns
from rollback.tables.float32 import as_written
from rollback.tables.table import (
    TableError,
    class_indices,
    encode,
    infer_schema,
    read_table,
    sorted_classes,
    write_table,
)

CSV = "bytes,proto,flag,label\n10,tcp,0,benign\n2.5e3,udp,1,attack\n,tcp,1,benign\n"


def csv_file(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_columns_of_numbers_are_numbers_and_the_rest_is_text(tmp_path: Path) -> None:
    table = read_table(csv_file(tmp_path, CSV))
    np.testing.assert_array_equal(table.columns["bytes"], [10.0, 2500.0, np.nan])
    assert table.columns["proto"].tolist() == ["tcp", "udp", "tcp"]
    assert table.line.tolist() == [2, 3, 4]


def test_kinds_are_inferred_as_documented(tmp_path: Path) -> None:
    table = read_table(csv_file(tmp_path, CSV + "7,tcp,1,benign\n"))
    assert infer_schema(table, ["label"]) == (
        FeatureSpec("bytes", "numeric"),
        FeatureSpec("proto", "categorical", ("tcp", "udp"), missing=None),
        FeatureSpec("flag", "binary"),
    )


def test_vocabularies_are_sorted_by_frequency_then_name(tmp_path: Path) -> None:
    table = read_table(csv_file(tmp_path, "p\nb\nc\nc\na\n\n"))
    assert infer_schema(table, [])[0].vocabulary == ("c", "a", "b")


def test_every_column_counts_unless_it_is_excluded(tmp_path: Path) -> None:
    table = read_table(csv_file(tmp_path, "id,ts,source,x\n1,5,a,2\n2,6,b,3\n3,7,a,9\n"))
    assert [f.name for f in infer_schema(table, ["id"])] == ["ts", "source", "x"]
    with pytest.raises(TableError, match=r"t.csv: no column 'sorce' \(did you mean 'source'\?\)"):
        infer_schema(table, ["sorce"])
    with pytest.raises(TableError, match="no feature is left"):
        infer_schema(table, ["id", "ts", "source", "x"])


def test_text_that_names_rows_is_refused_as_a_feature(tmp_path: Path) -> None:
    table = read_table(csv_file(tmp_path, "flow\n" + "".join(f"f-{i}\n" for i in range(1500))))
    with pytest.raises(TableError, match=r"'flow' holds 1500 different texts in 1500 rows.*--ignore flow"):
        infer_schema(table, [])


def test_categories_become_codes_unseen_and_missing(tmp_path: Path) -> None:
    table = read_table(csv_file(tmp_path, "proto,port\nudp,80\nsctp,443\n,\n"))
    features = (FeatureSpec("port", "categorical", ("443", "80")), FeatureSpec("proto", "categorical", ("tcp", "udp")))
    np.testing.assert_array_equal(encode(table, features), [[1.0, 1.0], [0.0, UNSEEN], [np.nan, np.nan]])


def test_a_cell_that_is_no_number_is_named(tmp_path: Path) -> None:
    table = read_table(csv_file(tmp_path, 'a,b\n1,"x\ny"\n2,z\n1_0,w\n'))
    with pytest.raises(TableError, match=r"t.csv: line 5, column 'a': '1_0' is no number"):
        encode(table, (FeatureSpec("a"),))
    infinite = read_table(csv_file(tmp_path, "a\n1\nInfinity\n", "i.csv"))
    with pytest.raises(TableError, match=r"i.csv: line 3, column 'a': the number is infinite"):
        encode(infinite, (FeatureSpec("a"),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", r"line 3: 1 cells, but the header names 2 columns"),
        ("a,a\n1,2\n", r"line 1: the header must name every column once"),
        ("", r"line 1: the header must name every column once"),
    ],
)
def test_broken_csv_is_refused_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_table(csv_file(tmp_path, text))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"no.csv: cannot be read: .*No such file"):
        read_table(tmp_path / "no.csv")
    with pytest.raises(TableError, match=r"the name must end in .csv, .ndjson or .parquet"):
        read_table(tmp_path / "t.xlsx")
    (tmp_path / "latin.csv").write_bytes(b"a\n\xff\n")
    with pytest.raises(TableError, match=r"latin.csv: is no UTF-8 text"):
        read_table(tmp_path / "latin.csv")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a\n1\n")[:-6])
    with pytest.raises(TableError, match=r"t.csv.gz: cannot be read"):
        read_table(tmp_path / "t.csv.gz")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(TableError, match=r"t.parquet: is no Parquet file"):
        read_table(tmp_path / "t.parquet")


def test_ndjson_is_read_by_name(tmp_path: Path) -> None:
    path = csv_file(tmp_path, '{"a": 1, "b": "x"}\n\n{"b": null, "a": true}\n{"a": 3, "c": "7"}\n', "t.ndjson")
    table = read_table(path)
    assert table.columns["a"].tolist() == [1.0, 1.0, 3.0]
    assert table.columns["b"].tolist() == ["x", "", ""]
    assert table.columns["c"].tolist() == ["", "", "7"]
    assert table.line.tolist() == [1, 3, 4]


def test_broken_ndjson_is_refused_with_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"t.ndjson: line 2: no JSON object"):
        read_table(csv_file(tmp_path, '{"a": 1}\n{"a": \n', "t.ndjson"))
    with pytest.raises(TableError, match=r"t.ndjson: line 1, column 'a': a list, no single value"):
        read_table(csv_file(tmp_path, '{"a": [1]}\n', "t.ndjson"))


def test_identifiers_stay_text_where_asked(tmp_path: Path) -> None:
    table = read_table(csv_file(tmp_path, "session,x\n007,1\n12345678901234567890,2\n"), text=["session"])
    assert table.strings("session").tolist() == ["007", "12345678901234567890"]


def test_labels_become_class_indices(tmp_path: Path) -> None:
    table = read_table(csv_file(tmp_path, "y,x\n10,1\n9,1\n,1\n"))
    assert sorted_classes(table.strings("y")) == ("9", "10")
    assert class_indices(table, "y", ("9", "10")).tolist() == [1, 0, -1]
    with pytest.raises(TableError, match=r"line 2, column 'y': label '10' is none of the classes 8, 9"):
        class_indices(table, "y", ("8", "9"))


def test_a_reference_has_source_and_session(tmp_path: Path) -> None:
    table = read_table(csv_file(tmp_path, "x,y,s,h\n1,a,fw1,k\n2,b,,\n"))
    rows = reference_rows(table, (FeatureSpec("x"),), ("a", "b"), label="y", source="s", session="h")
    assert rows.source.tolist() == ["fw1", "-"]
    assert rows.session.tolist() == ["k", ""]
    assert rows.y.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["o.csv", "o.ndjson", "o.parquet", "o.csv.gz", "o.ndjson.zst"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    columns = {"x": np.array([1.5, np.nan, 3.0]), "t": np.array(["a,b", "", 'q"é'])}
    write_table(tmp_path / name, columns)
    table = read_table(tmp_path / name)
    np.testing.assert_array_equal(table.columns["x"], columns["x"])
    assert table.columns["t"].tolist() == columns["t"].tolist()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(allow_nan=True, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_survive_csv_exactly(tmp_path: Path, values: list[float]) -> None:
    write_table(tmp_path / "n.csv", {"n": np.array(values), "k": np.arange(float(len(values)))})
    np.testing.assert_array_equal(read_table(tmp_path / "n.csv").columns["n"], np.array(values) + 0.0)


def test_parquet_types_become_numbers_or_text(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    made = arrow.table(
        {
            "i": arrow.array([1, None, 3]),
            "b": arrow.array([True, False, None]),
            "d": arrow.array(["x", None, "x"]).dictionary_encode(),
            "big": arrow.array([2**60 + 1, 2, 3]),
        }
    )
    parquet.write_table(made, tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", text=["big"])
    np.testing.assert_array_equal(table.columns["i"], [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(table.columns["b"], [1.0, 0.0, np.nan])
    assert table.columns["d"].tolist() == ["x", "", "x"]
    assert table.columns["big"].tolist() == [str(2**60 + 1), "2", "3"]
    assert table.where(1, "i") == f"{tmp_path / 't.parquet'}: row 2, column 'i'"


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TableError, match=r"Parquet needs pyarrow; install it with: pip install 'tocsin\[data\]'"):
        read_table(tmp_path / "t.parquet")


def test_added_columns_leave_the_other_cells_as_they_are(tmp_path: Path) -> None:
    path = csv_file(tmp_path, 'id,x\n007,1.50\n\n"a,b",2\n')
    append_columns(path, tmp_path / "o.csv", {"p": np.array([0.25, 1.0])})
    assert (tmp_path / "o.csv").read_text() == 'id,x,p\n007,1.50,0.25\n"a,b",2,1.0\n'
    lines = csv_file(tmp_path, '{"id": 12345678901234567890, "x": null}\n', "t.ndjson")
    append_columns(lines, tmp_path / "o.ndjson", {"p": np.array([0.5])})
    assert (tmp_path / "o.ndjson").read_text() == '{"id":12345678901234567890,"x":null,"p":0.5}\n'


def test_added_columns_may_change_the_format(tmp_path: Path) -> None:
    append_columns(csv_file(tmp_path, CSV), tmp_path / "o.ndjson", {"p": np.array([0.1, 0.2, 0.3])})
    table = read_table(tmp_path / "o.ndjson")
    assert table.columns["p"].tolist() == [0.1, 0.2, 0.3]
    assert table.columns["proto"].tolist() == ["tcp", "udp", "tcp"]


def test_a_column_is_not_added_twice_nor_over_its_own_table(tmp_path: Path) -> None:
    path = csv_file(tmp_path, CSV)
    with pytest.raises(TableError, match="has a column 'proto' already"):
        append_columns(path, tmp_path / "o.csv", {"proto": np.zeros(3)})
    with pytest.raises(TableError, match="would overwrite the table that it is made from"):
        append_columns(path, path, {"p": np.zeros(3)})


@pytest.mark.parametrize("sign", [";", "\t"])
def test_another_separator_is_named(tmp_path: Path, sign: str) -> None:
    path = tmp_path / "flows.csv"
    path.write_text(f"bytes{sign}class\n1{sign}a\n")
    with pytest.raises(TableError, match=re.escape(f"{path}: line 1: cells are parted by {sign!r}; a comma is needed")):
        read_table(path)


def test_a_file_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    with pytest.raises(TableError, match=re.escape(f"{path}: cannot be read: No such file or directory") + "$"):
        read_table(path)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_a_narrow_number_of_a_parquet_file_is_that_of_the_same_csv_file(tmp_path: Path, values: list[float]) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    narrow = np.array([0.02, *values], np.float32)
    parquet.write_table(arrow.table({"x": arrow.array(narrow)}), tmp_path / "x.parquet")
    written = csv_file(tmp_path, "\n".join(["x", *narrow.astype(str).tolist()]) + "\n", "x.csv")
    read = read_table(tmp_path / "x.parquet").floats("x")
    assert read[0] == 0.02
    np.testing.assert_array_equal(read.astype(np.float32), narrow)
    np.testing.assert_array_equal(read, read_table(written).floats("x"))


def test_a_missing_narrow_number_of_a_parquet_file_stays_missing(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        arrow.table({"x": arrow.array([None, 0.02, float("nan")], arrow.float32())}), tmp_path / "x.parquet"
    )
    np.testing.assert_array_equal(read_table(tmp_path / "x.parquet").floats("x"), [np.nan, 0.02, np.nan])


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_widened_float32_is_the_decimal_that_another_file_has(number: float) -> None:
    written = number if number.is_integer() else float(str(np.float32(number)))
    assert as_written(np.array([number, written])).tolist() == [written, written]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_of_full_precision_stays_as_it_is(number: float) -> None:
    with np.errstate(over="ignore"):
        wide = float(np.float32(number)) != number
    assert not wide or as_written(np.array([number])).tolist() == [number]
