"""The audit log: one JSON record per line, each holding the hash of the one before.

Edited, reordered or removed records are found by `rollback.audit.verification`. Beside the log lies a signed checkpoint
of its length and Merkle root, written after every record: it shows that records were cut off at the
end, as does every copy of it that was sent elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from rollback.audit.checkpoint import Checkpoint, CheckpointError, SignerError, read_signed, signed
from rollback.audit.merkle import Tree, leaf
from rollback.durable import replace_file
from rollback.signing.keys import Keys, SigningKey

FILE_NAME: Final = "audit.ndjson"
CHECKPOINT_SUFFIX: Final = ".checkpoint"
START: Final = "0" * 64
"""What the first record names as the hash of its predecessor."""


class AuditError(Exception):
    """The log is broken or cannot be written; the message names file, line and reason."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line. ``hash`` is the SHA-256 of the line without it, ``previous`` that of the line before."""

    number: int
    at: float
    kind: str
    body: dict[str, Any]
    previous: str
    hash: str = ""

    def line(self) -> bytes:
        """The record as it is written, with its hash."""
        return msgspec.json.encode(msgspec.structs.replace(self, hash=self.digest()), order="sorted") + b"\n"

    def digest(self) -> str:
        """The hash of everything but ``hash``."""
        bare = msgspec.structs.replace(self, hash="")
        return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


# made once, at import: msgspec may crash where two threads are the first to decode a type
_RECORD: Final = msgspec.json.Decoder(Record)


class AuditLog:
    """Appends to a log that only one process may have open. ``clock`` gives seconds since the epoch.

    With ``keys`` that can sign, a signed checkpoint is written beside the log after every record. On opening, the whole
    log is checked, and that it begins with what the checkpoint says; a line that a crash left unfinished is cut off,
    and that is recorded. Raises `AuditError`.
    """

    def __init__(self, path: Path, clock: Callable[[], float], keys: Keys | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._clock = clock
        self._keys = keys
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise AuditError(f"{path}: another process writes this audit log; stop it first") from error
        self.head = START
        """The hash of the last record."""
        self.note = ""
        """The signed checkpoint; empty while nothing is signed."""
        self.signed_records = 0
        """How many records the signed checkpoint stands for; 0 while nothing is signed."""
        self._broken = ""
        self._tree = Tree()
        self._origin = ""
        try:
            torn = self._cut_torn_line()
            self._read_again()
        except AuditError:
            self._file.close()
            raise
        if torn:
            self.append("audit.repaired", {"cut_bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()})
        elif self._tree.size:
            self._seal()

    def append(self, kind: str, body: dict[str, Any]) -> str:
        """Write one record, wait until it is on the disk, and return its hash. ``body`` is JSON.

        Raises `AuditError` where it cannot be written, and from then on: what is on the disk is not known any more
        before the log is opened again.
        """
        if self._broken:
            raise AuditError(self._broken)
        record = Record(self._tree.size, self._clock(), kind, body, self.head)
        line = record.line()
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._enter(record, line)
            self._seal()
        except OSError as error:
            self._broken = f"{self._path}: cannot be written: {error.strerror}; mend that, and start again"
            raise AuditError(self._broken) from error
        return self.head

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._path

    @property
    def records(self) -> int:
        """How many there are."""
        return self._tree.size

    @property
    def origin(self) -> str:
        """Its name, which comes from its first record; empty while there is none."""
        return self._origin

    @property
    def checkpoint(self) -> Checkpoint | None:
        """How long the log is and which root it has; None while it is empty."""
        return Checkpoint(self._origin, self._tree.size, self._tree.root()) if self._tree.size else None

    def _enter(self, record: Record, line: bytes) -> None:
        self._tree.append(leaf(line))
        self._origin = self._origin or origin(record)
        self.head = record.hash or record.digest()

    def seal(self, key: SigningKey) -> None:
        """Sign the checkpoint with another key, now and from now on. Raises `AuditError`."""
        self._keys = Keys.of(key)
        try:
            self._seal()
        except OSError as error:
            raise AuditError(f"{checkpoint_of(self._path)}: cannot be written: {error.strerror}") from error

    def _seal(self) -> None:
        if self._keys is not None and self._keys.signing is not None and self.checkpoint is not None:
            note = signed(self.checkpoint, self._keys.signing)
            replace_file(checkpoint_of(self._path), note)
            self.note = note.decode()
            self.signed_records = self._tree.size

    def _read_again(self) -> None:
        known = read_checkpoint(self._path, self._keys) if self._keys is not None else None
        for record in read_records(self._path):
            self._enter(record, record.line())
            if known is not None and known.size == self._tree.size and known != self.checkpoint:
                raise AuditError(rewritten(self._path, known))
        if known is not None and known.size > self._tree.size:
            raise AuditError(cut_off(self._path, self._tree.size, known))
        # a crash may come between a record and its checkpoint: one record is without, never more
        if known is not None and self._tree.size > known.size + 1:
            raise AuditError(unsigned_end(self._path, known))
        if known is None and self._keys is not None and self._keys.signing is not None and self._tree.size > 1:
            raise AuditError(unsealed(self._path))

    def close(self) -> None:
        """Let another process write."""
        with suppress(OSError):  # what a full disk has kept in memory is lost, and was said to be
            self._file.close()

    def _cut_torn_line(self) -> bytes:
        content_end = self._file.seek(0, os.SEEK_END)
        keep = _end_of_last_line(self._file, content_end)
        self._file.seek(keep)
        torn = self._file.read()
        if torn:
            self._file.truncate(keep)
            os.fsync(self._file.fileno())
        return torn


def _end_of_last_line(file: Any, end: int) -> int:
    """Where the last complete line before ``end`` ends (0 where there is none)."""
    block = 65_536
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return int(start + newline + 1)
        end = start
    return 0


def parse(line: bytes, where: str) -> Record:
    """The record of one line, its end included; ``where`` is its place. Raises `AuditError`."""
    try:
        record = _RECORD.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AuditError(f"{where}: is no audit record: {error}") from error
    if record.line() != line:
        raise AuditError(f"{where}: was changed: its content does not give its hash {record.hash}")
    return record


def read_records(path: Path) -> Iterator[Record]:
    """Every record, each checked against the one before; raises `AuditError` at the first that does not fit."""
    return _chain(path, _refuse_torn)


def read_while_written(path: Path) -> Iterator[Record]:
    """`read_records` of a log that another process may be writing: a last line that is incomplete is not there yet."""
    return _chain(path, lambda _: None)


def _refuse_torn(where: str) -> None:
    raise AuditError(f"{where}: is incomplete (a crash while writing?); the next start repairs it")


def _chain(path: Path, torn: Callable[[str], None]) -> Iterator[Record]:
    previous = START
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file):
                where = f"{path}: line {number + 1}"
                if not line.endswith(b"\n"):
                    torn(where)
                    return
                record = parse(line, where)
                if record.previous != previous or record.number != number:
                    raise AuditError(
                        f"{where}: does not follow the one before (record {record.number} after {record.previous[:9]}, "
                        f"expected {number} after {previous[:9]}): lines were removed, inserted or reordered"
                    )
                previous = record.hash
                yield record
    except OSError as error:
        raise AuditError(f"{path}: cannot be read: {error.strerror}") from error


def origin(first: Record) -> str:
    """The name of the log that begins with this record."""
    return f"tocsin audit {first.digest()[:16]}"


def name_of(path: Path) -> str:
    """The name of the log in a file, empty where there is no record yet. Raises `AuditError`."""
    return next((origin(record) for record in read_while_written(path)), "")


def checkpoint_of(path: Path) -> Path:
    """Where the signed checkpoint of a log lies."""
    return path.with_name(path.name + CHECKPOINT_SUFFIX)


def read_checkpoint(path: Path, keys: Keys) -> Checkpoint | None:
    """The signed checkpoint of a log, None where there is none. Raises `AuditError`.

    The own key is believed unless it is known to be revoked.
    """
    file = checkpoint_of(path)
    own = {} if keys.signing is None else {keys.signing.public.key_id: keys.signing.public}
    try:
        return read_signed(file.read_bytes(), {**own, **keys.trusted})
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuditError(f"{file}: cannot be read: {error.strerror}") from error
    except SignerError as error:
        raise AuditError(f"{file}: {error}; {how_to_reseal(path.parent)}") from error
    except CheckpointError as error:
        raise AuditError(f"{file}: {error}") from error


def how_to_reseal(folder: Path) -> str:
    """What to do where the key of a log has changed."""
    return (
        f"where the key was changed: tocsin audit reseal {folder} --old-key OLD.pub.pem --config FILE --reason WHY, "
        "while no daemon runs"
    )


def rewritten(path: Path, known: Checkpoint) -> str:
    """What to say where records are others than those that were signed."""
    return (
        f"{path}: its first {known.size} records are not those that were signed: one of them was replaced, and all "
        "that follow it were written again; compare it with a copy"
    )


def unsigned_end(path: Path, known: Checkpoint) -> str:
    """What to say of a log with more records beyond its checkpoint than a crash leaves."""
    return (
        f"{path}: line {known.size + 1}: more than one record follows what {checkpoint_of(path)} stands for: a daemon "
        "signs after every one, so somebody without its key has written them; keep the file, and take them off"
    )


def unsealed(path: Path) -> str:
    """What to say of a log without its checkpoint."""
    return (
        f"{checkpoint_of(path)}: missing, beside a log that is not empty: whoever removed it may have cut off records "
        "as well; put it back, or move both away"
    )


def cut_off(path: Path, size: int, known: Checkpoint) -> str:
    """What to say where there are fewer records than were signed."""
    return (
        f"{path}: has {size} records, of {known.size} that were signed: record {size} and what follows were cut off "
        "at the end"
    )
