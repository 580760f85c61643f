"""One look over a whole training store before its rows are given: where each row is whole, and which columns are text.

It reads every segment once, in blocks and by column; whoever needs the rows several times makes one survey for all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.batch import Bools
from rollback.store.index import Index
from rollback.store.row import Value
from rollback.store.segments import StoreError, blocks

KEY: Final = 8
AT_ONCE: Final = 10_000


class Outline(msgspec.Struct, frozen=True, gc=False):
    """Of a row's line what a survey needs."""

    id: str
    digest: str
    features: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Survey:
    """For every row, where it came ``first`` (-1: a conflict) and where it comes ``last``: its history is whole there.

    ``texts`` says of every feature of the rows that are given whether it is text in any of them.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    texts: dict[str, bool]

    def places(self) -> Iterator[tuple[int, int]]:
        """Of each row ``first`` and ``last``."""
        for start in range(0, len(self.first), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            yield from zip(self.first[part].tolist(), self.last[part].tolist(), strict=True)

    @property
    def conflicts(self) -> int:
        """How many rows came under an id that another row had taken."""
        return int(np.count_nonzero(self.first < 0))


def survey(folder: Path, index: Index) -> Survey:
    """Of the segments that the index lists. Of each row about 60 bytes are in memory. Raises `StoreError`."""
    ids: list[NDArray[np.uint64]] = []
    digests: list[NDArray[np.uint64]] = []
    texts: dict[str, bool] = {}
    for rows in _outlines(folder, index):
        ids.append(_keys([row.id for row in rows]))
        digests.append(_keys([row.digest for row in rows]))
        _note_texts(rows, texts)
    count, total = sum(map(len, ids)), sum(segment.rows for segment in index.segments)
    if count != total:
        raise StoreError(f"{folder}: its segments hold {count} rows, and the index says {total}")
    empty = np.zeros(0, np.uint64)
    first, last = _places(np.concatenate([empty, *ids]), np.concatenate([empty, *digests]))
    if np.any(first < 0):  # what is never given decides nothing
        texts = {}
        start = 0
        for rows in _outlines(folder, index):
            given: Bools = first[start : start + len(rows)] >= 0
            _note_texts([row for row, is_given in zip(rows, given.tolist(), strict=True) if is_given], texts)
            start += len(rows)
    return Survey(first, last, texts)


def _outlines(folder: Path, index: Index) -> Iterator[list[Outline]]:
    for segment in index.segments:
        yield from blocks(folder, segment.file, Outline)


def _places(ids: NDArray[np.uint64], digests: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    _, where, of = np.unique(ids, return_index=True, return_inverse=True)
    first = where[of].astype(np.int64)  # np.unique names the first of equal ids
    conflict = digests != digests[first]
    last = np.zeros(len(where), np.int64)
    np.maximum.at(last, of[~conflict], np.flatnonzero(~conflict))
    return np.where(conflict, -1, first), last[of]


def _keys(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Of 64 bits: in ten million rows two ids share one with a chance of three in a million; one is a conflict then."""
    hashed = [hashlib.blake2b(text.encode(), digest_size=KEY).digest() for text in texts]
    return np.frombuffer(b"".join(hashed), dtype=">u8").astype(np.uint64)


def _note_texts(rows: Sequence[Outline], texts: dict[str, bool]) -> None:
    """Rows of the same features are looked at column by column."""
    alike: dict[tuple[str, ...], list[tuple[Value, ...]]] = {}
    for row in rows:
        alike.setdefault(tuple(row.features), []).append(tuple(row.features.values()))
    for names, cells in alike.items():
        for name, column in zip(names, zip(*cells, strict=True), strict=True):
            texts[name] = texts.get(name, False) or str in set(map(type, column))
