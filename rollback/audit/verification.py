"""Whether an audit log is what was written: its chain, its signed checkpoint, and what others have kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollback.audit.checkpoint import Checkpoint
from rollback.audit.log import (
    START,
    AuditError,
    Record,
    cut_off,
    origin,
    read_checkpoint,
    read_records,
    read_while_written,
    rewritten,
    unsealed,
)
from rollback.audit.merkle import Tree, consistency, inclusion, leaf
from rollback.signing.keys import Keys


@dataclass(frozen=True, slots=True)
class Verified:
    """A log of ``records`` records with this Merkle ``root``; ``signed`` says how many a checkpoint stands for."""

    records: int
    root: bytes
    signed: int | None


def verify(
    path: Path,
    head: str | None = None,
    keys: Keys | None = None,
    kept: Sequence[Checkpoint] = (),
    read: Callable[[Path], Iterator[Record]] = read_records,
) -> Verified:
    """Check the whole chain, the checkpoint beside it (with ``keys``), and checkpoints that were ``kept`` elsewhere.

    ``head`` is the hash of a record known to have been written. Raises `AuditError`, which names the first record that
    is not as it was written. Without keys, kept checkpoints or a head, records that were cut off at the end leave no
    trace that this check could see. ``read`` is `read_while_written` where a daemon may be writing.
    """
    beside = read_checkpoint(path, keys) if keys is not None else None
    known = [*kept, *([beside] if beside is not None else [])]
    tree, name = Tree(), ""
    seen = head is None or head == START
    for record in read(path):
        tree.append(leaf(record.line()))
        name = name or origin(record)
        seen = seen or record.hash == head
        now = Checkpoint(name, tree.size, tree.root())
        for each in known:
            if each.size == tree.size and each != now:
                raise AuditError(rewritten(path, each))
    if keys is not None and beside is None and tree.size > 1:
        raise AuditError(unsealed(path))
    for each in known:
        if each.size > tree.size:
            raise AuditError(cut_off(path, tree.size, each))
    if not seen:
        raise AuditError(f"{path}: the record with hash {head} is missing; the end of the log was cut off")
    return Verified(tree.size, tree.root(), max((each.size for each in known), default=None))


@dataclass(frozen=True, slots=True)
class Proof:
    """A ``record`` and the way from it to the root of a log of ``size`` records (RFC 6962)."""

    record: Record
    size: int
    root: bytes
    path: tuple[bytes, ...]


def prove(path: Path, number: int) -> Proof:
    """The proof that record ``number`` (from 0) is in the log. Raises `AuditError`."""
    records = list(read_while_written(path))
    if not 0 <= number < len(records):
        raise AuditError(f"{path}: there is no record {number}: it has {len(records)}, numbered from 0")
    leaves = [leaf(record.line()) for record in records]
    return Proof(records[number], len(leaves), Tree(leaves).root(), tuple(inclusion(leaves, number)))


@dataclass(frozen=True, slots=True)
class Growth:
    """The way from the root of the first ``first`` records to that of all ``size``: nothing was changed (RFC 6962)."""

    first: int
    first_root: bytes
    size: int
    root: bytes
    path: tuple[bytes, ...]


def prove_growth(path: Path, first: int) -> Growth:
    """The proof that the log's first ``first`` records are the log that it was then. Raises `AuditError`."""
    leaves = [leaf(record.line()) for record in read_while_written(path)]
    if first < 1:
        raise AuditError(f"{path}: nothing is to be proved of {first} records: give a number from 1 to {len(leaves)}")
    if first > len(leaves):
        raise AuditError(f"{path}: it never had {first} records: it has {len(leaves)}; give a number from 1 to that")
    way = tuple(consistency(leaves, first))
    return Growth(first, Tree(leaves[:first]).root(), len(leaves), Tree(leaves).root(), way)
