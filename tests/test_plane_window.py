from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.batch import Batch
from monitor.state.checkpoint import decode, encode
from monitor.window import ClosedWindow, WindowBuilder, WindowSettings

NOW = 1_000_000.0


def batch(ts: Sequence[float], first: int = 0, version: str = "1", partition: int = 0) -> Batch:
    n = len(ts)
    offset = np.arange(first, first + n)
    return Batch(
        model="nids",
        version=version,
        ts=np.array(ts, dtype=np.float64),
        id=np.array([f"{partition}/{o}" for o in offset], dtype=np.str_),
        source=np.full(n, "s"),
        session=np.full(n, "s@0"),
        ref=np.full(n, ""),
        x=np.column_stack([offset, ts]).astype(np.float64).reshape(n, 2),
        scores=np.full((n, 2), 0.5),
        partition=np.full(n, partition, dtype=np.int64),
        offset=offset.astype(np.int64),
        key=offset.astype(np.uint64),
        digest=offset.astype(np.uint64),
    )


def builder(events: int = 4, seconds: float = 1e9, idle: float = 60.0) -> WindowBuilder:
    return WindowBuilder(WindowSettings(events, seconds, idle))


def ids(windows: Sequence[ClosedWindow]) -> list[list[str]]:
    return [w.batch.id.tolist() for w in windows]


def test_a_window_closes_at_exactly_its_number_of_events() -> None:
    windows = builder()
    assert windows.add(batch([1, 2, 3]), NOW) == []
    closed = windows.add(batch([4, 5, 6, 7, 8, 9], first=3), NOW)
    assert ids(closed) == [["0/0", "0/1", "0/2", "0/3"], ["0/4", "0/5", "0/6", "0/7"]]
    assert [(w.index, w.reason) for w in closed] == [(0, "count"), (1, "count")]
    (rest,) = windows.flush()
    assert (rest.index, rest.reason, len(rest.batch)) == (2, "flush", 1)
    assert windows.flush() == []


def test_a_window_closes_by_age_in_event_time_before_the_event_that_is_too_late_for_it() -> None:
    windows = builder(events=100, seconds=10)
    closed = windows.add(batch([0, 5, 9.9, 10, 12, 25]), NOW)
    assert ids(closed) == [["0/0", "0/1", "0/2"], ["0/3", "0/4"]]
    assert {w.reason for w in closed} == {"age"}


def test_a_window_closes_when_nothing_comes_any_more() -> None:
    windows = builder(idle=60)
    windows.add(batch([1, 2]), now=1000)
    assert windows.closed(now=1059.9) == []
    (closed,) = windows.closed(now=1060)
    assert (closed.reason, len(closed.batch)) == ("idle", 2)
    assert windows.closed(now=9999) == []


def test_late_events_join_the_open_window_and_are_counted() -> None:
    windows = builder(events=3, seconds=10)
    first, second = windows.add(batch([20, 21, 22, 3, 23, 19]), NOW)
    assert (first.late, second.late) == (0, 2)
    assert second.batch.ts.tolist() == [3, 19, 23]


def test_a_late_event_does_not_make_its_window_old() -> None:
    windows = builder(events=3, seconds=10)
    assert len(windows.add(batch([100, 101, 102, 3, 103]), NOW)) == 1


def test_events_from_the_future_never_advance_time_and_are_counted() -> None:
    windows = builder(events=4, seconds=10)
    closed = windows.add(batch([0, NOW * 2, 1, 2, 3]), now=100)
    assert [(w.future, w.late, w.reason) for w in closed] == [(1, 0, "count")]
    (rest,) = windows.flush()
    assert rest.late == 0


def test_versions_have_windows_and_indices_of_their_own() -> None:
    windows = builder(events=2)
    one = windows.add(batch([1, 2, 3]), NOW)
    two = windows.add(batch([1, 2], version="2"), NOW)
    assert [(w.version, w.index) for w in [*one, *two]] == [("1", 0), ("2", 0)]
    assert [w.version for w in windows.flush()] == ["1"]


def test_rows_are_sorted_by_time_then_partition_then_offset() -> None:
    windows = builder(events=4)
    windows.add(batch([7, 5], partition=1), NOW)
    (closed,) = windows.add(batch([7, 5], partition=0), NOW)
    assert closed.batch.id.tolist() == ["0/1", "1/1", "0/0", "1/0"]


def test_ranges_hold_exactly_the_rows() -> None:
    windows = builder(events=6)
    windows.add(batch([1, 2, 3]), NOW)
    windows.add(batch([4], first=7), NOW)
    (closed,) = windows.add(batch([5, 6], partition=3, first=50), NOW)
    assert closed.ranges == {0: ((0, 3), (7, 8)), 3: ((50, 52),)}


def test_a_window_without_events_takes_the_next_index_and_keeps_the_width() -> None:
    windows = builder(events=2)
    windows.add(batch([1, 2]), now=1000)
    empty = windows.without_events("nids", "1")
    assert (empty.index, empty.batch.x.shape, empty.batch.scores.shape) == (1, (0, 2), (0, 2))
    (closed,) = windows.add(batch([3, 4]), now=1000)
    assert closed.index == 2
    assert windows.without_events("nids", "new").batch.x.shape == (0, 0)


def test_a_version_is_silent_when_it_has_no_open_window_and_was_idle() -> None:
    windows = builder(events=2, idle=60)
    assert windows.silent("1", now=0)
    windows.add(batch([1, 2]), now=1000)
    assert not windows.silent("1", now=1059)
    assert windows.silent("1", now=1060)
    windows.without_events("nids", "1")
    assert not windows.silent("1", now=1061)
    assert windows.silent("1", now=1121)
    windows.add(batch([3]), now=1000)
    assert not windows.silent("1", now=2000)


@pytest.mark.parametrize(
    "wrong", [{"window_events": 0}, {"window_max_seconds": 0}, {"idle_seconds": -1}, {"future_tolerance": float("nan")}]
)
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WindowSettings(**wrong)  # type: ignore[arg-type]  # one of the parameters is an integer


TIMES = st.lists(st.integers(0, 60) | st.just(5000), max_size=40)


def shown(windows: Sequence[ClosedWindow]) -> list[tuple[object, ...]]:
    return [(w.index, w.batch.id.tolist(), w.ranges, w.reason, w.late, w.future) for w in windows]


def run(times: Sequence[float], cuts: Sequence[int], *, restart: bool = False) -> list[tuple[object, ...]]:
    windows, closed = builder(events=5, seconds=20), []
    edges = [0, *sorted(min(c, len(times)) for c in cuts), len(times)]
    for start, end in pairwise(edges):
        closed += windows.add(batch(times[start:end], first=start), now=100)
        if restart:
            saved = decode(encode(windows.state()))
            windows = builder(events=5, seconds=20)
            windows.restore(saved)
    return shown([*closed, *windows.flush()])


@settings(deadline=None)
@given(TIMES, st.lists(st.integers(0, 40), max_size=6))
def test_windows_do_not_depend_on_how_events_are_chunked(times: list[float], cuts: list[int]) -> None:
    assert run(times, cuts) == run(times, [])


@settings(deadline=None)
@given(TIMES, st.lists(st.integers(0, 40), max_size=6))
def test_windows_are_the_same_after_a_restart(times: list[float], cuts: list[int]) -> None:
    assert run(times, cuts, restart=True) == run(times, [])


@settings(deadline=None)
@given(TIMES)
def test_every_event_is_in_exactly_one_window(times: list[float]) -> None:
    windows = run(times, [])
    held = [i for _, found, *_ in windows for i in found]  # type: ignore[attr-defined]  # the ids
    assert sorted(held) == sorted(f"0/{o}" for o in range(len(times)))
    assert [index for index, *_ in windows] == list(range(len(windows)))


def test_after_a_restart_idle_time_counts_anew() -> None:
    windows = builder(idle=60)
    windows.add(batch([1]), now=1000)
    restored = builder(idle=60)
    restored.restore(decode(encode(windows.state())))
    assert restored.closed(now=100_000) == []
    assert len(restored.closed(now=100_060)) == 1
