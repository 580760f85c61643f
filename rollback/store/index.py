"""The index of a training store: which segments belong to it, in order, and whom its operator trusts.

It is an audit log (`rollback.audit.log`): every entry holds the hash of the one before, and where there is a key, a
signed checkpoint stands for all of them. An entry is written after its segment is on the disk: a crash between the two
leaves a segment that nothing lists, and a store that can be read.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from rollback.audit.log import START, AuditError, AuditLog, checkpoint_of, read_checkpoint, read_while_written
from rollback.audit.verification import verify
from rollback.signing.keys import Keys
from rollback.store.segments import StoreError

FILE: Final = "index.ndjson"
SEGMENT: Final = "segment"
TRUST: Final = "trust"
WITHDRAWN: Final = "trust.withdrawn"


@dataclass(frozen=True, slots=True)
class Segment:
    """One entry: the file (which its SHA-256 names), how many rows it holds and of when they are (event time)."""

    file: str
    rows: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Trust:
    """What the operator named as trusted: an ``origin``, or the rows of a file ("" for what was not named)."""

    origin: str
    file: str
    by: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Index:
    """``head`` is the hash of the last entry: it names the content of the whole store. ``signed``: how many entries."""

    segments: tuple[Segment, ...]
    trusts: tuple[Trust, ...]
    head: str
    signed: int | None

    @property
    def origins(self) -> frozenset[str]:
        """The origins that are trusted."""
        return frozenset(trust.origin for trust in self.trusts if trust.origin)


def read_index(store: Path, keys: Keys | None = None) -> Index:
    """The entries, each checked against the one before; with ``keys`` also against what was signed.

    A last entry that nobody has signed is left out. Raises `StoreError`, also for a store that is signed where nothing
    can check it (``keys`` without a trusted one).
    """
    path = store / FILE
    if not path.is_file():
        raise StoreError(f"{store}: is no training store: there is no {FILE}; tocsin store add makes one")
    signed = None
    try:
        if keys is not None and checkpoint_of(path).exists():
            found = verify(path, keys=keys)
            signed = found.signed
            if found.records > (signed or 0) + 1:  # a crash leaves one entry without its signature
                raise StoreError(f"{path}: entries after the {signed}th are signed by nobody; take them off")
        return _collected(path, signed)
    except AuditError as error:
        raise StoreError(str(error)) from error


def _collected(path: Path, signed: int | None) -> Index:
    segments: list[Segment] = []
    trusts: list[Trust] = []
    head = START
    for record in read_while_written(path):
        if signed is not None and record.number >= signed:
            break  # of a crash, or of somebody without the key: what nobody has signed is not in the store
        head = record.hash
        try:
            if record.kind == SEGMENT:
                segments.append(msgspec.convert(record.body, Segment))
            elif record.kind == TRUST:
                trusts.append(msgspec.convert({**record.body, "at": record.at}, Trust))
            elif record.kind == WITHDRAWN:
                gone = (record.body["origin"], record.body["file"])
                trusts = [trust for trust in trusts if (trust.origin, trust.file) != gone]
        except (msgspec.ValidationError, KeyError) as error:
            raise StoreError(f"{path}: line {record.number + 1}: is no entry of an index: {error}") from error
    return Index(tuple(segments), tuple(trusts), head, signed)


@contextmanager
def writing(store: Path, clock: Callable[[], float], keys: Keys | None = None) -> Iterator[AuditLog]:
    """The index, open for entries; nobody else writes to the store meanwhile. Raises `StoreError`.

    ``clock`` only dates the entries; nothing is decided by it. A last entry without a signature is cut off of a signed
    index first: it would be signed with what comes.
    """
    try:
        if keys is not None and keys.signing is not None:
            _cut_unsigned(store / FILE, keys)
        log = AuditLog(store / FILE, clock, keys if keys is not None and keys.signing is not None else None)
    except AuditError as error:
        raise StoreError(str(error)) from error
    except OSError as error:
        raise StoreError(f"{store}: cannot be written: {error.strerror}") from error
    try:
        yield log
    finally:
        log.close()


def _cut_unsigned(path: Path, keys: Keys) -> None:
    """A crash leaves one entry without a signature; its rows were not acknowledged, and come again."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # opening the log says who writes
        known = read_checkpoint(path, keys)
        for number, line in enumerate(file):
            if known is not None and number == known.size:
                if line.endswith(b"\n") and not file.read(1):
                    file.truncate(file.tell() - len(line))
                    os.fsync(file.fileno())
                return


def enter(log: AuditLog, kind: str, body: dict[str, Any]) -> None:
    """Add an entry. Raises `StoreError`."""
    try:
        log.append(kind, body)
    except AuditError as error:
        raise StoreError(str(error)) from error
