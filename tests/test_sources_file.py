"""FileSource: every kind of file, the order over files, and files that are broken."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from monitor.sources.file import FileSource
from monitor.sources.file_lines import split_lines
from monitor.sources.source import Partition, PermanentSourceError, Source


def events(*times: float) -> list[bytes]:
    return [json.dumps({"id": f"e{i}", "ts": ts}).encode() for i, ts in enumerate(times)]


def read(source: Source, max_messages: int = 1000) -> list[tuple[str, int, bytes]]:
    """File name, offset and value of everything."""
    got = []
    while not source.finished:
        for chunk in source.poll(max_messages, 0.0):
            name = Path(chunk.partition.topic).name
            got.extend((name, o, v) for o, v in zip(chunk.offsets, chunk.values, strict=True))
    source.close()
    return got


def values(source: Source) -> list[bytes]:
    return [value for _, _, value in read(source)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Sequence[bytes]], Path]:
    def create(name: str, lines: Sequence[bytes]) -> Path:
        path = tmp_path / name
        packers: dict[str, Callable[[bytes], bytes]] = {
            ".gz": gzip.compress,
            ".zst": zstandard.ZstdCompressor().compress,
        }
        path.write_bytes(packers.get(path.suffix, bytes)(b"".join(line + b"\n" for line in lines)))
        return path

    return create


@pytest.mark.parametrize("name", ["a.ndjson", "a.jsonl", "a.ndjson.gz", "a.jsonl.gz", "a.ndjson.zst", "A.NDJSON"])
def test_lines_come_as_they_are_whatever_the_file_is_packed_in(name: str, write: Any, listener: Any) -> None:
    lines = events(1, 2, 3)
    assert values(FileSource([(write(name, lines), "inference")], listener)) == lines


def test_several_members_in_one_compressed_file_are_all_read(tmp_path: Path, listener: Any) -> None:
    lines = events(1, 2, 3)
    packed = [gzip.compress(line + b"\n") for line in lines]
    (tmp_path / "a.ndjson.gz").write_bytes(b"".join(packed))
    (tmp_path / "b.ndjson.zst").write_bytes(b"".join(zstandard.compress(line + b"\n") for line in lines))
    for name in ("a.ndjson.gz", "b.ndjson.zst"):
        assert values(FileSource([(tmp_path / name, "inference")], listener)) == lines


def test_files_are_merged_by_event_time_and_ties_go_by_file_then_line(write: Any, listener: Any) -> None:
    a = write("a.ndjson", events(1, 3, 3, 9))
    b = write("b.ndjson", [b'{"ts": "1970-01-01T00:00:02Z"}', b'{"ts": 3}', b'{"ts": "1970-01-01T02:00:04+02:00"}'])
    got = read(FileSource([(a, "inference"), (b, "feedback")], listener))
    assert [(name, offset) for name, offset, _ in got] == [
        ("a.ndjson", 0),
        ("b.ndjson", 0),
        ("a.ndjson", 1),
        ("a.ndjson", 2),
        ("b.ndjson", 1),
        ("b.ndjson", 2),
        ("a.ndjson", 3),
    ]


def test_each_file_keeps_its_role(write: Any, listener: Any) -> None:
    a, b = write("a.ndjson", events(1)), write("b.ndjson", events(2))
    source = FileSource([(a, "inference"), (b, "trusted")], listener)
    assert [chunk.role for chunk in source.poll(10, 0.0)] == ["inference", "trusted"]


def test_a_file_that_is_not_sorted_comes_sorted(write: Any, listener: Any) -> None:
    got = read(FileSource([(write("a.ndjson", events(5, 1, 3, 1)), "inference")], listener), max_messages=2)
    assert [offset for _, offset, _ in got] == [1, 3, 2, 0]


def test_what_cannot_be_read_stays_behind_the_line_before_it(write: Any, listener: Any) -> None:
    lines = [b"\xff\xfe", b'{"ts": 5}', b'{"ts": ', b'{"id": "no time"}', b'{"ts": 1}', b'{"ts": {}}']
    got = read(FileSource([(write("a.ndjson", lines), "inference")], listener))
    assert [offset for _, offset, _ in got] == [0, 4, 5, 1, 2, 3]
    assert sorted(value for _, _, value in got) == sorted(lines)


def test_blank_lines_are_left_out_but_counted(write: Any, listener: Any) -> None:
    got = read(FileSource([(write("a.ndjson", [b"", b'{"ts": 1}\r', b"  ", b'{"ts": 2}']), "inference")], listener))
    assert [(offset, value) for _, offset, value in got] == [(1, b'{"ts": 1}'), (3, b'{"ts": 2}')]


def test_a_last_line_without_an_end_is_read(tmp_path: Path, listener: Any) -> None:
    (tmp_path / "a.ndjson").write_bytes(b'{"ts": 1}\n{"ts": 2}')
    assert len(values(FileSource([(tmp_path / "a.ndjson", "inference")], listener))) == 2


def test_an_empty_file_is_finished_at_once(tmp_path: Path, listener: Any) -> None:
    (tmp_path / "a.ndjson").touch()
    (tmp_path / "b.ndjson.gz").touch()
    source = FileSource([(tmp_path / "a.ndjson", "inference"), (tmp_path / "b.ndjson.gz", "feedback")], listener)
    assert not source.finished
    assert source.poll(10, 0.0) == []
    assert source.finished


def test_parquet_rows_come_as_events(tmp_path: Path, listener: Any) -> None:
    table = pa.table(
        {
            "id": ["a", "b"],
            "ts": pa.array([1_000_000, 2_500_000], pa.timestamp("us")),
            "model": ["nids", "nids"],
            "scores": [[0.1, 0.9], [0.5, 0.5]],
            "source": ["s1", None],
            "bytes": pa.array([7, None], pa.int64()),
            "proto": ["tcp", "udp"],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    got = values(FileSource([(tmp_path / "a.parquet", "inference")], listener))
    assert [json.loads(value) for value in got] == [
        {
            "id": "a",
            "ts": 1.0,
            "model": "nids",
            "scores": [0.1, 0.9],
            "source": "s1",
            "features": {"bytes": 7, "proto": "tcp"},
        },
        {"id": "b", "ts": 2.5, "model": "nids", "scores": [0.5, 0.5], "features": {"bytes": None, "proto": "udp"}},
    ]


def test_parquet_features_may_be_one_column(tmp_path: Path, listener: Any) -> None:
    table = pa.table({"id": ["a"], "ts": [1.0], "features": [[1.5, None]], "extra": [1]})
    pq.write_table(table, tmp_path / "a.parquet")
    (got,) = values(FileSource([(tmp_path / "a.parquet", "inference")], listener))
    assert json.loads(got) == {"id": "a", "ts": 1.0, "features": [1.5, None]}


@pytest.mark.parametrize("name", ["a.ndjson.gz", "a.ndjson.zst"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused_with_path_and_byte(
    name: str, kept: float, write: Any, listener: Any
) -> None:
    path = write(name, [b'{"ts": %d, "x": %d}' % (i, i * i * 7919) for i in range(2000)])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(PermanentSourceError, match=rf"{name}: broken or cut off near byte \d+ of \d+"):
        FileSource([(path, "inference")], listener).poll(10, 0.0)


@pytest.mark.parametrize("name", ["a.ndjson.gz", "a.ndjson.zst", "a.parquet"])
def test_a_file_that_is_not_what_its_name_says_is_refused(name: str, tmp_path: Path, listener: Any) -> None:
    (tmp_path / name).write_bytes(b'{"ts": 1}\n')
    with pytest.raises(PermanentSourceError, match=name):
        FileSource([(tmp_path / name, "inference")], listener).poll(10, 0.0)


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.parquet", "a.csv"])
def test_a_file_that_is_not_there_is_refused(name: str, tmp_path: Path, listener: Any) -> None:
    with pytest.raises(PermanentSourceError, match=name):
        FileSource([(tmp_path / name, "inference")], listener).poll(10, 0.0)


def test_the_same_file_twice_is_refused(write: Any, listener: Any) -> None:
    path = write("a.ndjson", events(1))
    with pytest.raises(PermanentSourceError, match="twice"):
        FileSource([(path, "inference"), (path, "feedback")], listener)


def test_a_file_that_shrinks_while_it_is_read_is_noticed(write: Any, listener: Any) -> None:
    path = write("a.ndjson", events(*range(10)))
    source = FileSource([(path, "inference")], listener)
    source.poll(1, 0.0)
    path.write_bytes(b"")
    source.seek({Partition(str(path), 0): 5})
    with pytest.raises(PermanentSourceError, match="changed while it was being read"):
        source.poll(10, 0.0)


def test_a_seek_in_one_file_leaves_the_others_where_they_are(write: Any, listener: Any) -> None:
    a, b = write("a.ndjson", events(1, 3, 5)), write("b.ndjson", events(2, 4, 6))
    source = FileSource([(a, "inference"), (b, "inference")], listener)
    source.poll(4, 0.0)
    source.seek({Partition(str(a), 0): 1})
    assert [(name, offset) for name, offset, _ in read(source)] == [
        ("a.ndjson", 1),
        ("a.ndjson", 2),
        ("b.ndjson", 2),
    ]


@given(
    lines=st.lists(st.binary(max_size=8).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b""))),
    cuts=st.integers(1, 7),
)
def test_lines_do_not_depend_on_where_the_pieces_end(lines: list[bytes], cuts: int) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    pieces = [whole[i : i + cuts] for i in range(0, len(whole), cuts)]
    assert list(split_lines(pieces)) == lines


@given(times=st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=3), most=st.integers(1, 4))
def test_delivery_is_the_stable_sort_by_time_whatever_the_chunk_size(
    times: list[list[int]], most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")
    files = []
    for number, stamps in enumerate(times):
        path = folder / f"{number}.ndjson"
        path.write_bytes(b"".join(line + b"\n" for line in events(*stamps)))
        files.append((path, "inference"))

    class Silent:
        def on_assigned(self, _partitions: Any) -> Any:
            return {}

        def on_positioned(self, _offsets: Any) -> None:
            """Nothing is saved."""

    got = [(name, offset) for name, offset, _ in read(FileSource(files, Silent()), most)]
    wanted = sorted((ts, f"{n}.ndjson", line) for n, stamps in enumerate(times) for line, ts in enumerate(stamps))
    assert got == [(name, line) for _, name, line in wanted]
