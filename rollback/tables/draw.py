"""A part of a table that is too large: drawn by strata, by hashes of the rows' ids, in two readings of bounded memory.

Which rows are drawn is decided by the whole content alone: who wrote a row cannot choose to be left out or in, and the
same content gives the same rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detectors.batch import Bools, Hashes, Ints, Strings
from rollback.tables.table import Table


@dataclass(frozen=True, slots=True)
class Drawn:
    """The drawn rows in their order, of ``total``; ``strata`` {stratum: (rows, drawn)}, empty where all were taken.

    ``note`` says what else a reader should know of where the rows are from.
    """

    table: Table
    total: int
    strata: Mapping[str, tuple[int, int]]
    note: str = ""


def draw(
    chunks: Callable[[], Iterator[Table]], most: int, by: Sequence[str], ids: Callable[[Table], Strings], key: bytes
) -> Drawn:
    """About ``most`` rows: of each stratum (the values of the columns ``by``) its share, at least one row.

    ``chunks`` begins to read anew at every call, ``ids`` names the rows of a chunk, ``key`` is the content's digest.
    Of every row 16 bytes are in memory, and the drawn rows. Raises `rollback.tables.table.TableError`, and `ValueError`
    where ``most`` is not positive.
    """
    if most < 1:
        raise ValueError(f"most: at least 1 row, got {most}")
    codes: dict[str, int] = {}
    parts = [(_hashes(ids(chunk), key), _strata(chunk, by, codes)) for chunk in chunks()]
    if not parts:
        return Drawn(Table("", {}, np.zeros(0, np.int64)), 0, {})
    chosen = _chosen(np.concatenate([h for h, _ in parts]), np.concatenate([s for _, s in parts]), most)
    stratum = np.concatenate([s for _, s in parts])
    taken, start = [], 0
    for chunk in chunks():
        mask = chosen[start : start + len(chunk)]
        start += len(chunk)
        taken.append(_take(chunk, mask))
    of, drawn = np.bincount(stratum, minlength=len(codes)), np.bincount(stratum[chosen], minlength=len(codes))
    strata = {name: (int(of[i]), int(drawn[i])) for name, i in codes.items()}
    return Drawn(_joined(taken), len(chosen), strata)


def whole(parts: Sequence[Table]) -> Drawn:
    """All the rows of the parts (at least one)."""
    table = _joined(parts)
    return Drawn(table, len(table), {})


def _hashes(ids: Strings, key: bytes) -> Hashes:
    begun = hashlib.blake2b(key=key[:64], digest_size=8)
    found = np.zeros(len(ids), np.uint64)
    for i, ident in enumerate(ids.tolist()):
        one = begun.copy()
        one.update(ident.encode())
        found[i] = int.from_bytes(one.digest(), "big")
    return found


def _strata(chunk: Table, by: Sequence[str], codes: dict[str, int]) -> Ints:
    texts = [chunk.strings(name) for name in by]
    names, of = np.unique(np.array([" | ".join(row) for row in zip(*texts, strict=True)]), return_inverse=True)
    found = np.array([codes.setdefault(name, len(codes)) for name in names.tolist()], np.int64)
    return found[of]


def _chosen(hashes: Hashes, stratum: Ints, most: int) -> Bools:
    """Of every stratum the rows with the smallest hashes."""
    order = np.lexsort((hashes, stratum))
    sizes = np.bincount(stratum)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    share = np.maximum(np.floor(sizes * (most / len(stratum))), np.minimum(sizes, 1))
    chosen = np.zeros(len(order), np.bool_)
    chosen[order] = rank < np.repeat(share, sizes)
    return chosen


def _take(chunk: Table, mask: Bools) -> Table:
    return Table(chunk.path, {n: c[mask] for n, c in chunk.columns.items()}, chunk.line[mask], chunk.unit)


def _joined(parts: Sequence[Table]) -> Table:
    first = parts[0]
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns}
    return Table(first.path, columns, np.concatenate([part.line for part in parts]), first.unit)
