from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitor.state.checkpoint import CheckpointError, CheckpointStore, MemorySegments, Segment, decode, encode

DTYPES = st.sampled_from(["?", "<i4", "<i8", "<u8", "<f4", "<f8", "<U5"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5) if dtype == "<U5" else None,
    )
)
STATES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**130), 2**130)
    | st.floats()
    | st.text(st.characters(codec="utf-8"))
    | st.binary()
    | ARRAYS
    | st.builds(Segment, st.text("0123456789abcdef", min_size=32, max_size=32)),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)  # noqa: PLR0124 - NaN


@settings(deadline=None)
@given(STATES)
def test_a_state_comes_back_as_it_was(state: Any) -> None:
    assert same(state, decode(encode(state)))


def test_the_same_state_gives_the_same_bytes() -> None:
    assert encode({"a": np.arange(3), "b": "x"}) == encode({"a": np.arange(3), "b": "x"})


def test_arrays_come_back_writable_and_numpy_scalars_as_numbers() -> None:
    array = decode(encode({"a": np.zeros(2)}))["a"]
    array[0] = 1
    assert array.tolist() == [1.0, 0.0]
    assert same(decode(encode([np.float64(0.5), np.int64(3), np.bool_(True)])), [0.5, 3, True])  # noqa: FBT003 - a value


@pytest.mark.parametrize(
    ("state", "path"),
    [
        ({"a": [np.array([object()])]}, r"state\.a\[0\]: arrays of dtype object"),
        ({"a": {1: 2}}, r"state\.a: keys must be strings"),
        ({"a": {"b": {1, 2}}}, r"state\.a\.b: set cannot be stored"),
        ([np.array(["2024-01-01"], dtype="datetime64[s]")], r"state\[0\]: arrays of dtype datetime64"),
    ],
)
def test_what_is_no_state_is_refused_with_its_path(state: Any, path: str) -> None:
    with pytest.raises(TypeError, match=path):
        encode(state)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_noticed(position: int, flip: int) -> None:
    data = bytearray(encode({"a": np.arange(50), "b": "text"}))
    data[position % len(data)] ^= flip
    with pytest.raises(CheckpointError):
        decode(bytes(data))


@settings(deadline=None)
@given(st.integers(0, 200))
def test_a_torn_file_is_noticed(length: int) -> None:
    data = encode({"a": np.arange(50), "b": "text"})
    with pytest.raises(CheckpointError):
        decode(data[: min(length, len(data) - 1)])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CheckpointStore]:
    with CheckpointStore(tmp_path / "state") as store:
        yield store


def test_an_empty_store_has_nothing_to_load(store: CheckpointStore) -> None:
    assert store.load() is None
    assert store.load("000000000001-0123456789abcdef") is None


def test_the_latest_and_the_one_before_can_be_loaded(store: CheckpointStore) -> None:
    names = [store.save({"n": n}) for n in range(4)]
    assert store.load() == (names[3], {"n": 3})
    assert store.load(names[2]) == (names[2], {"n": 2})
    assert store.load(names[1]) is None
    assert store.names() == names[2:]


def test_equal_states_have_different_names(store: CheckpointStore) -> None:
    assert store.save({"n": 1}) != store.save({"n": 1})


def test_a_crash_in_the_middle_of_saving_leaves_the_previous(tmp_path: Path) -> None:
    with CheckpointStore(tmp_path) as store:
        name = store.save({"n": 1})
    torn = tmp_path / "000000000002-0123456789abcdef.tmp"
    torn.write_bytes(encode({"n": 2})[:30])
    with CheckpointStore(tmp_path) as store:
        assert store.load() == (name, {"n": 1})
        assert not torn.exists()
        store.save({"n": 2})
        assert [n[:12] for n in store.names()] == ["000000000001", "000000000002"]


def test_a_damaged_checkpoint_is_refused_and_named(store: CheckpointStore) -> None:
    name = store.save({"n": 1})
    path = store.folder / f"{name}.state"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=rf"{name}\.state: the file is torn or was changed.*restore it"):
        store.load()


def test_a_segment_is_kept_as_long_as_a_kept_checkpoint_refers_to_it(store: CheckpointStore) -> None:
    first = store.put({"rows": np.arange(3)})
    second = store.put({"rows": np.arange(4)})
    store.save({"deep": [{"down": first}]})
    store.save({"segments": [second]})
    assert store.get(first)["rows"].tolist() == [0, 1, 2]
    store.save({"segments": [second]})
    with pytest.raises(CheckpointError, match="the file is missing"):
        store.get(first)
    assert store.get(second)["rows"].tolist() == [0, 1, 2, 3]


def test_segments_that_a_crash_left_behind_are_removed(tmp_path: Path) -> None:
    with CheckpointStore(tmp_path) as store:
        orphan = store.put({"n": 0})
        kept = store.put({"n": 1})
        store.save({"s": kept})
    with CheckpointStore(tmp_path) as store:
        store.save({"s": kept})
        store.save({"s": kept})
        with pytest.raises(CheckpointError):
            store.get(orphan)
        assert store.get(kept) == {"n": 1}


def test_a_segment_name_cannot_leave_the_folder(store: CheckpointStore) -> None:
    with pytest.raises(CheckpointError, match="is no segment name"):
        store.get(Segment("../lock"))


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_equal_segments_are_one(kind: str, store: CheckpointStore) -> None:
    segments = MemorySegments() if kind == "memory" else store
    one, other = segments.put({"a": np.arange(2)}), segments.put({"a": np.arange(2)})
    assert one == other
    assert segments.get(one)["a"].tolist() == [0, 1]
    with pytest.raises(CheckpointError):
        segments.get(Segment("0" * 32))


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    with (
        CheckpointStore(tmp_path),
        pytest.raises(CheckpointError, match=rf"in use by another process \(pid {os.getpid()}\)"),
    ):
        CheckpointStore(tmp_path)
    CheckpointStore(tmp_path).close()


def _hold_and_die(folder: str) -> None:
    CheckpointStore(Path(folder)).save({"n": 1})
    os._exit(9)


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(str(tmp_path),))
    process.start()
    process.join()
    with CheckpointStore(tmp_path) as store:
        assert store.load() == (store.names()[0], {"n": 1})
