"""Keyed 64-bit hashes, and a bounded memory of those that were seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Final

import numpy as np

from detectors.batch import Bools, Hashes
from detectors.evidence import State
from monitor.state.state_codec import Segment

_EMPTY: Final = np.uint64(0)


class KeyedHash:
    """BLAKE2b with a secret key, cut to 64 bits: who does not know the key cannot aim for a collision."""

    def __init__(self, key: bytes) -> None:
        if not 16 <= len(key) <= 64:  # noqa: PLR2004 - what BLAKE2b takes, and no less than 128 bits
            raise ValueError(f"the hash key must have 16 to 64 bytes, got {len(key)}")
        self._keyed = blake2b(digest_size=8, key=key)

    def many(self, values: Iterable[bytes]) -> Hashes:
        """A hash for each value."""
        copy = self._keyed.copy  # which has taken in the key already
        digests = []
        for value in values:
            state = copy()
            state.update(value)
            digests.append(state.digest())
        return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)

    def texts(self, values: Iterable[str]) -> Hashes:
        """A hash for each text. Lone surrogates cannot come out of JSON."""
        return self.many([value.encode() for value in values])

    def tuples(self, rows: Iterable[Sequence[str]]) -> Hashes:
        """A hash for each row of texts, which hold no NUL."""
        return self.texts(["\0".join(row) for row in rows])


class RecentHashes:
    """Remembers at least the last ``horizon`` hashes and at most twice as many.

    Two generations: when the young one holds ``horizon`` hashes it becomes the old one, and the old one is forgotten.
    Each is a table with open addressing, at most a quarter full, looked up and filled for whole arrays.

    >>> recent = RecentHashes(horizon=4)
    >>> recent.add(np.array([5, 6, 5], dtype=np.uint64)).tolist()
    [True, True, False]
    >>> recent.seen(np.array([6, 7], dtype=np.uint64)).tolist()
    [True, False]
    """

    def __init__(self, horizon: int, segment_rows: int = 32768) -> None:
        if horizon < 1 or segment_rows < 1:
            raise ValueError(f"horizon and segment_rows must be at least 1, got {horizon} and {segment_rows}")
        self._horizon = horizon
        self._segment_rows = segment_rows
        self._young = _Generation()
        self._old: _Generation | None = None

    def __len__(self) -> int:
        return self._young.count + (self._old.count if self._old else 0)

    def seen(self, hashes: Hashes) -> Bools:
        """For each hash whether it was added within the horizon."""
        found = self._young.holds(hashes)
        return found | self._old.holds(hashes) if self._old else found

    def add(self, hashes: Hashes) -> Bools:
        """Remember these; True for each that is new, which a hash is once in the array.

        What was seen already is not refreshed.
        """
        distinct, first = np.unique(hashes, return_index=True)
        unseen = ~self.seen(distinct)
        new = np.zeros(len(hashes), dtype=np.bool_)
        new[first[unseen]] = True
        fresh = distinct[unseen]
        while len(fresh):
            room = max(0, self._horizon - self._young.count)  # a restored generation may hold more
            self._young.add(fresh[:room])
            fresh = fresh[room:]
            if self._young.count >= self._horizon:
                self._old, self._young = self._young, _Generation()
        return new

    def state(self, put: Callable[[State], Segment]) -> State:
        """For the checkpoint: what fills a segment is ``put`` as one, once; the rest is in the state."""
        generations = [g for g in (self._old, self._young) if g is not None]
        return {"generations": [g.state(put, self._segment_rows) for g in generations]}

    def restore(self, state: State, get: Callable[[Segment], State]) -> None:
        """Take back what `state` gave; ``get`` reads a segment that was put."""
        restored = [_Generation.restored(g, get) for g in state["generations"]]
        self._young = restored.pop()
        self._old = restored.pop() if restored else None


class _Generation:
    """A set of hashes that remembers the order in which they came, for segments."""

    def __init__(self) -> None:
        self._bits = 10
        self._table = np.zeros(1 << self._bits, dtype=np.uint64)
        self._segments: list[Segment] = []
        self._tail: list[Hashes] = []
        self.count = 0

    def holds(self, hashes: Hashes) -> Bools:
        wanted = _nonzero(hashes)
        found = np.zeros(len(wanted), dtype=np.bool_)
        rows = np.arange(len(wanted))
        slots = self._slots(wanted)
        while len(rows):
            there = self._table[slots]
            hit = there == wanted[rows]
            found[rows[hit]] = True
            on = ~hit & (there != _EMPTY)
            rows, slots = rows[on], self._next(slots[on])
        return found

    def add(self, hashes: Hashes) -> None:
        """Hashes that differ from each other and from all that are held."""
        self.count += len(hashes)
        self._tail.append(hashes)
        if 4 * self.count > len(self._table):
            held = self._table[self._table != _EMPTY]
            self._bits = (8 * self.count - 1).bit_length()
            self._table = np.zeros(1 << self._bits, dtype=np.uint64)
            self._fill(held)
        self._fill(_nonzero(hashes))

    def _fill(self, hashes: Hashes) -> None:
        left, slots = hashes, self._slots(hashes)
        while len(left):
            free = self._table[slots] == _EMPTY
            # where several want one slot the last one gets it, which the comparison below tells
            self._table[slots[free]] = left[free]
            on = self._table[slots] != left
            left, slots = left[on], self._next(slots[on])

    def _slots(self, hashes: Hashes) -> Hashes:
        """Where to look first: by the high bits, so that sorted hashes walk through the table in its order."""
        return hashes >> np.uint64(64 - self._bits)

    def _next(self, slots: Hashes) -> Hashes:
        return (slots + np.uint64(1)) & np.uint64(len(self._table) - 1)

    def state(self, put: Callable[[State], Segment], segment_rows: int) -> State:
        tail = np.concatenate(self._tail) if self._tail else np.zeros(0, dtype=np.uint64)
        whole = len(tail) // segment_rows * segment_rows
        for start in range(0, whole, segment_rows):
            self._segments.append(put({"hashes": tail[start : start + segment_rows]}))
        self._tail = [tail[whole:]]
        return {"segments": list(self._segments), "tail": self._tail[0]}

    @classmethod
    def restored(cls, state: State, get: Callable[[Segment], State]) -> _Generation:
        generation = cls()
        for segment in state["segments"]:
            generation.add(get(segment)["hashes"])
        generation._segments = list(state["segments"])
        generation._tail = []
        generation.add(state["tail"])
        return generation


def _nonzero(hashes: Hashes) -> Hashes:
    """Zero marks an empty slot, so the hash zero is taken for one."""
    return np.maximum(hashes, np.uint64(1))
