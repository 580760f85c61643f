from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.batch import Batch, Hashes
from monitor.dedup import Deduplicator
from monitor.hashes import KeyedHash, RecentHashes
from monitor.sessions import SessionLedger
from monitor.state.checkpoint import MemorySegments, decode, encode

KEY = b"0123456789abcdef"


def hashes(*values: int) -> Hashes:
    return np.array(values, dtype=np.uint64)


def batch(ids: Sequence[int], contents: Sequence[int], version: str = "1", sessions: Sequence[str] = ()) -> Batch:
    n = len(ids)
    named = sessions or ["s"] * n
    return Batch(
        model="nids",
        version=version,
        ts=np.zeros(n),
        id=np.array(ids).astype(np.str_),
        source=np.array([s.partition("/")[0] for s in named], dtype=np.str_),
        session=np.array([s.partition("/")[2] for s in named], dtype=np.str_),
        ref=np.full(n, ""),
        x=np.zeros((n, 1)),
        scores=np.zeros((n, 2)),
        partition=np.zeros(n, dtype=np.int64),
        offset=np.arange(n),
        key=np.array(ids, dtype=np.uint64),
        digest=np.array(contents, dtype=np.uint64),
    )


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40), max_size=30), max_size=8))
def test_what_was_added_within_the_horizon_is_seen(parts: list[list[int]]) -> None:
    recent, added = RecentHashes(horizon=1000), {0, 1}
    recent.add(hashes(0, 1))
    for part in parts:
        recent.add(hashes(*part))
        added |= set(part)
    probe = sorted(added | {v ^ 5 for v in added})
    assert recent.seen(hashes(*probe)).tolist() == [v in added for v in probe]


@settings(deadline=None)
@given(st.integers(1, 20), st.lists(st.integers(0, 10**6), min_size=1, max_size=120, unique=True))
def test_memory_is_bounded_and_the_latest_stay(horizon: int, values: list[int]) -> None:
    recent = RecentHashes(horizon)
    for value in values:
        recent.add(hashes(value + 2))
    assert len(recent) <= 2 * horizon
    assert recent.seen(hashes(*[v + 2 for v in values[-horizon:]])).all()
    assert recent.seen(hashes(*[v + 2 for v in values])).sum() <= 2 * horizon


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 200), max_size=40), max_size=6), st.integers(1, 30))
def test_hashes_come_back_from_their_state(parts: list[list[int]], horizon: int) -> None:
    segments = MemorySegments()
    recent = RecentHashes(horizon, segment_rows=4)
    for part in parts:
        recent.add(hashes(*part))
        saved = decode(encode(recent.state(segments.put)))
        recent, before = RecentHashes(horizon, segment_rows=4), recent
        recent.restore(saved, segments.get)
        probe = hashes(*range(220))
        assert recent.seen(probe).tolist() == before.seen(probe).tolist()
        assert len(recent) == len(before)


def test_a_state_can_be_restored_with_a_smaller_horizon() -> None:
    segments, recent = MemorySegments(), RecentHashes(100)
    recent.add(hashes(*range(50)))
    smaller = RecentHashes(10)
    smaller.restore(decode(encode(recent.state(segments.put))), segments.get)
    smaller.add(hashes(1000, 1001))
    assert smaller.seen(hashes(3, 1000, 1001)).tolist() == [True, True, True]
    smaller.add(np.arange(2000, 2010, dtype=np.uint64))
    assert smaller.seen(hashes(3, 1000, 2009)).tolist() == [False, True, True]


def test_a_full_segment_is_put_once_and_the_state_stays_small() -> None:
    segments, put = MemorySegments(), []
    recent = RecentHashes(horizon=1000, segment_rows=100)
    for start in range(0, 800, 50):
        recent.add(np.arange(start + 1, start + 51, dtype=np.uint64))
        state = recent.state(lambda s: (put.append(s), segments.put(s))[1])
    assert len(put) == 8
    assert len(encode(state)) < 2000


@pytest.mark.parametrize("length", [0, 15, 65])
def test_a_hash_key_has_the_right_length(length: int) -> None:
    with pytest.raises(ValueError, match="16 to 64 bytes"):
        KeyedHash(b"k" * length)


def test_a_repeat_is_dropped_and_a_conflict_is_kept() -> None:
    repeats = Deduplicator(1000, KEY)
    assert len(repeats.filter(batch([1, 2], [10, 20])).batch) == 2
    found = repeats.filter(batch([1, 2, 3], [10, 21, 30]))
    assert (found.batch.id.tolist(), found.repeats, found.conflicts) == (["2", "3"], 1, 1)
    again = repeats.filter(batch([2], [21]))
    assert (len(again.batch), again.repeats, again.conflicts) == (0, 1, 0)


def test_repeats_and_conflicts_within_a_batch_are_found_and_the_first_stays() -> None:
    found = Deduplicator(1000, KEY).filter(batch([1, 1, 1, 2], [10, 10, 11, 20]))
    assert found.batch.offset.tolist() == [0, 2, 3]
    assert (found.repeats, found.conflicts) == (1, 1)


def test_an_id_that_two_versions_score_is_no_repeat() -> None:
    repeats = Deduplicator(1000, KEY)
    repeats.filter(batch([1], [10]))
    found = repeats.filter(batch([1], [10], version="2"))
    assert (len(found.batch), found.repeats, found.conflicts) == (1, 0, 0)


EVENTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=40)


@settings(deadline=None)
@given(EVENTS, st.lists(st.integers(0, 40), max_size=5))
def test_what_is_kept_does_not_depend_on_chunks_or_restarts(events: list[tuple[int, int]], cuts: list[int]) -> None:
    segments = MemorySegments()
    repeats, kept, dropped, conflicts = Deduplicator(1000, KEY), [], 0, 0
    edges = [0, *sorted(min(c, len(events)) for c in cuts), len(events)]
    for start, end in pairwise(edges):
        part = events[start:end]
        found = repeats.filter(batch([i for i, _ in part], [c for _, c in part]))
        kept += list(zip(found.batch.key.tolist(), found.batch.digest.tolist(), strict=True))
        dropped, conflicts = dropped + found.repeats, conflicts + found.conflicts
        saved = decode(encode(repeats.state(segments.put)))
        repeats = Deduplicator(1000, KEY)
        repeats.restore(saved, segments.get)
    assert kept == list(dict.fromkeys(events))
    assert dropped == len(events) - len(set(events))
    assert conflicts == len(set(events)) - len({i for i, _ in events})


def test_a_session_votes_in_the_first_window_that_holds_it() -> None:
    ledger = SessionLedger(1000, KEY)
    assert ledger.fresh(batch([1, 2, 3], [1, 2, 3], sessions=["a/1", "a/1", "b/1"])).tolist() == [True, True, True]
    assert ledger.fresh(batch([4, 5], [4, 5], sessions=["a/1", "a/2"])).tolist() == [False, True]
    assert ledger.fresh(batch([], [])).tolist() == []


def test_a_session_that_never_ends_votes_again_after_its_rest() -> None:
    ledger = SessionLedger(1000, KEY, rest=3)
    voted = [ledger.fresh(batch([i], [i], sessions=["a/host"])).tolist() for i in range(9)]
    assert [i for i, (fresh,) in enumerate(voted) if fresh] == [0, 6]


def test_sessions_are_remembered_across_a_restart_and_forgotten_beyond_the_horizon() -> None:
    segments, ledger = MemorySegments(), SessionLedger(10, KEY)
    ledger.fresh(batch([1], [1], sessions=["a/first"]))
    saved = decode(encode(ledger.state(segments.put)))
    ledger = SessionLedger(10, KEY)
    ledger.restore(saved, segments.get)
    assert ledger.fresh(batch([1], [1], sessions=["a/first"])).tolist() == [False]
    for i in range(30):
        ledger.fresh(batch([1], [1], sessions=[f"a/{i}"]))
    assert ledger.fresh(batch([1], [1], sessions=["a/first"])).tolist() == [True]
