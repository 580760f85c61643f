"""A part of an audit log that can be checked without the rest: records, each with the proof that it is in the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from rollback.audit.checkpoint import Checkpoint, CheckpointError, read_signed
from rollback.audit.log import AuditError, Record, checkpoint_of, parse, read_records
from rollback.audit.merkle import ProofError, Subtrees, check_inclusion, leaf
from rollback.signing.keys import PublicKey

SHORTEST: Final = 6
FORMAT: Final = "tocsin.audit.extract.v1"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the log as it is written, and its way to the root (hexadecimal, RFC 6962)."""

    line: str
    path: tuple[str, ...]


class Extract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``checkpoint`` is the signed note of length and root of the whole log; ``entries`` are in the log's order."""

    checkpoint: str
    entries: tuple[Entry, ...]
    format: str = FORMAT


# made once, at import: msgspec may crash where two threads are the first to decode a type
_EXTRACT: Final = msgspec.json.Decoder(Extract)


def concerns(record: Record, incident: str) -> bool:
    """Whether a record is about an incident: a case of it, or that its cases are another one's.

    ``incident`` is its uid, or the first letters of it, `SHORTEST` at least.
    """
    case = record.body.get("case")
    about = case.get("incident") if isinstance(case, dict) else record.body.get("incident")
    named = str(about or str(record.body.get("key", "")).partition("/")[0])
    return named == incident or (len(incident) >= SHORTEST and named.startswith(incident))


def extract(path: Path, wanted: Callable[[Record], bool]) -> bytes:
    """The records of a log that are ``wanted``, with proofs. Raises `AuditError`, also without a signed checkpoint."""
    try:
        note = checkpoint_of(path).read_text(encoding="utf-8")
    except OSError as error:
        why = f"{checkpoint_of(path)}: cannot be read: {error.strerror}; without a signed checkpoint nothing is proved"
        raise AuditError(why) from error
    records = list(read_records(path))
    subtrees = Subtrees([leaf(record.line()) for record in records])
    entries = tuple(
        Entry(record.line().decode(), tuple(step.hex() for step in subtrees.inclusion(record.number)))
        for record in records
        if wanted(record)
    )
    return _text(Extract(note, entries))


def check_extract(content: bytes, trusted: Mapping[str, PublicKey], where: str) -> tuple[Checkpoint, list[Record]]:
    """The checkpoint and the records of an extract, after every check. Raises `AuditError`.

    Records that were left out of it leave no trace: an extract proves what is in it, not that it is all there is.
    """
    try:
        found = _EXTRACT.decode(content)
        checkpoint = read_signed(found.checkpoint.encode(), trusted)
    except (msgspec.DecodeError, UnicodeError, CheckpointError) as error:
        raise AuditError(f"{where}: is no extract of an audit log: {error}") from error
    canonical = all(step == step.lower() for entry in found.entries for step in entry.path)
    if not canonical or _text(found) != content:
        raise AuditError(f"{where}: was changed: it is not written as an extract is")
    if found.format != FORMAT:
        raise AuditError(f"{where}: is of format {found.format!r}; this version of Tocsin reads {FORMAT!r}")
    records: list[Record] = []
    for number, entry in enumerate(found.entries):
        place = f"{where}: entry {number}"
        record = parse(entry.line.encode(), place)
        try:
            way = [bytes.fromhex(step) for step in entry.path]
            check_inclusion(leaf(entry.line.encode()), record.number, checkpoint.size, way, checkpoint.root)
        except (ProofError, ValueError) as error:
            raise AuditError(f"{place}: record {record.number} is not proved to be in the log: {error}") from error
        if records and record.number <= records[-1].number:
            raise AuditError(f"{place}: record {record.number} comes after record {records[-1].number}")
        records.append(record)
    return checkpoint, records


def _text(found: Extract) -> bytes:
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"
