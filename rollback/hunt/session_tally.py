"""Counts by session in bounded memory: of all sessions, or of a fair sample of whole ones where there are too many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Hashes, Ints

CAPACITY = 1_000_000
_HASHES = 2.0**64


class SessionTally:
    """Adds up ``columns`` counts for each session, which is named by a keyed 64-bit hash.

    At most about ``capacity`` sessions are held (twice as many for a moment): beyond, only those whose hash lies below
    ``share`` of its range, which is halved as often as need be. That is a sample of whole sessions which nobody
    without the key can choose (Gibbons 2001, distinct sampling, VLDB).

    >>> tally = SessionTally(columns=1)
    >>> tally.add(np.array([7, 9, 7], dtype=np.uint64), np.array([[1], [5], [2]]))
    >>> tally.counts().tolist(), tally.share
    ([[3], [5]], 1.0)
    """

    def __init__(self, columns: int, capacity: int = CAPACITY) -> None:
        if columns < 1 or capacity < 1:
            raise ValueError(f"columns and capacity must be at least 1, got {columns} and {capacity}")
        self._capacity = capacity
        self._keys: Hashes = np.zeros(0, np.uint64)
        self._counts: Ints = np.zeros((0, columns), np.int64)
        self._waiting: list[tuple[Hashes, Ints]] = []
        self._rows = 0
        self.share = 1.0
        """Of all sessions, how many are counted."""

    def add(self, keys: Hashes, counts: NDArray[np.integer]) -> None:
        """Add counts [n, columns] to the sessions keys [n], which may repeat."""
        if self.share < 1:
            kept = keys < np.uint64(self.share * _HASHES)
            keys, counts = keys[kept], counts[kept]
        merged = _merged(keys, counts.astype(np.int64))
        self._waiting.append(merged)
        self._rows += len(merged[0])
        if self._rows >= self._capacity:
            self._settle()

    def counts(self) -> Ints:
        """The counts [sessions, columns] of every session that is held."""
        self._settle()
        return self._counts

    def _settle(self) -> None:
        keys = np.concatenate([self._keys, *(k for k, _ in self._waiting)])
        counts = np.concatenate([self._counts, *(c for _, c in self._waiting)])
        self._waiting, self._rows = [], 0
        self._keys, self._counts = _merged(keys, counts)
        while len(self._keys) > self._capacity:
            self.share /= 2
            held = int(np.searchsorted(self._keys, np.uint64(self.share * _HASHES)))
            self._keys, self._counts = self._keys[:held].copy(), self._counts[:held].copy()


def _merged(keys: Hashes, counts: Ints) -> tuple[Hashes, Ints]:
    """Each key once, in rising order, with the sum of its counts."""
    if not len(keys):
        return keys, counts
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(counts, starts, axis=0)
