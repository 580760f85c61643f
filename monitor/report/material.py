"""What a report is made of, read from a state folder; whatever cannot be read is said, and does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from monitor.incidents.explain import (
    INCIDENTS,
    REQUESTS,
    WINDOWS,
    ExplainError,
    about,
    case_keys,
    hunt_summary,
    messages_of,
    moves_of,
    read_lines,
    removed_rows,
)
from monitor.messages import Incident
from monitor.report.windows import Around, read_around
from rollback.audit.checkpoint import Checkpoint, CheckpointError, read_signed
from rollback.audit.log import FILE_NAME, AuditError, Record, checkpoint_of, read_while_written
from rollback.audit.verification import Verified, verify
from rollback.registry.registry import Move, Registry, RegistryError
from rollback.signing.keys import TRIAL_FOLDER, KeyFileError, Keys
from rollback.tables.cells import TableError

T = TypeVar("T")
MOST_LINES_NAMED: Final = 5
MOST_LOOKS: Final = 3
"""At a log that goes on while it is checked."""
UNSIGNED: Final = 1
"""Records that a crash, or a look between a record and its signature, leaves without one."""
State = Literal["verified", "chained", "broken", "unreadable", "missing"]
MOST_NOTE_BYTES: Final = 4096


class ReportError(Exception):
    """No report can be made; the message says what is missing, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What the audit log says of the incident, and whether it is what was written.

    ``state``: `verified` against its signed checkpoint, `chained` (no key or checkpoint to check it with), `broken`,
    `unreadable`, or `missing`; ``why`` says more. ``note`` is the signed checkpoint beside it, as it is written.
    """

    state: State
    why: str = ""
    records: Sequence[Record] = ()
    found: Verified | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Material:
    """As in `monitor.incidents.explain.Explanation`; ``gaps`` are what could not be read, in sentences."""

    state: Path
    uid: str
    messages: Sequence[Incident]
    around: Around
    requests: Sequence[dict[str, Any]]
    audit: Audit
    moves: Sequence[Move]
    removed: dict[str, dict[str, int]]
    missed: str
    gaps: Sequence[str]

    @property
    def last(self) -> Incident:
        """The newest message."""
        return self.messages[-1]


def gather(
    state: Path, uid: str, keys: Callable[[], Keys | None], registry: Callable[[str], Registry] | None = None
) -> Material:
    """Read all that there is about the incident whose uid begins so. Raises `ReportError`.

    ``keys`` gives those that the audit log is checked with, ``registry`` opens that of a model.
    """
    messages = _messages(state, uid)
    last = messages[-1]
    gaps: list[str] = []
    around = _tried(lambda: read_around(state / WINDOWS, last.model, last.uid), Around(), gaps, "its windows")
    if around.bad:
        named = ", ".join(str(number) for number in around.bad[:MOST_LINES_NAMED])
        gaps.append(f"{state / WINDOWS}: {len(around.bad)} lines are no windows and were left out: {named}")
    elif not around.own:
        gaps.append(f"{state / WINDOWS}: holds no window of this incident (any more): no figures can be shown")
    nothing: list[dict[str, Any]] = []
    asked = _tried(lambda: list(read_lines(state / REQUESTS)), nothing, gaps, "what labellers were asked")
    audit = read_audit(state / FILE_NAME, last.uid, keys, [message.audit_checkpoint for message in messages])
    cases = case_keys(audit.records)
    moves: Sequence[Move] = ()
    if registry is not None:
        plain = msgspec.to_builtins(last)
        moves = _tried(lambda: moves_of(registry(last.model), plain, cases), (), gaps, "how versions were moved")
    none: dict[str, dict[str, int]] = {}
    removed = _tried(lambda: removed_rows(state, cases), none, gaps, "the rows that retrainings took out")
    missed = _tried(lambda: hunt_summary(state, last.uid), "", gaps, "what a hunt has found") or last.missed
    once = {str(line.get("id")): line for line in reversed(asked) if line.get("incident") == last.uid}
    requests = list(reversed(once.values()))
    return Material(state, last.uid, messages, around, requests, audit, moves, removed, missed, gaps)


def read_audit(log: Path, uid: str, keys: Callable[[], Keys | None], told: Sequence[str] = ()) -> Audit:
    """The records about an incident, up to where the log is broken, if it is.

    ``told`` are the checkpoints that the incident's messages were published with: the log must have been so then.
    """
    if not log.exists():
        return Audit("missing", f"{log}: there is none{_that_there_was_one(log, told)}")
    every, wrong = _readable(log)
    records = about(every, uid)
    if wrong is not None:
        return Audit(_how_bad(wrong), str(wrong), records)
    state, why, found = _checked(log, keys, told)
    return Audit(state, why, records, found, _note(log))


def _that_there_was_one(log: Path, told: Sequence[str]) -> str:
    """What shows that a log was there once, empty where nothing does."""
    beside = ["its signed checkpoint still lies here"] if checkpoint_of(log).exists() else []
    sent = ["messages about this incident were sent with checkpoints of it"] if any(told) else []
    if not (seen := [*beside, *sent]):
        return ""
    return f", but there was one: {' and '.join(seen)}. It was removed, or not copied: find out which"


def _how_bad(error: AuditError) -> Literal["broken", "unreadable"]:
    """What cannot be read was not changed by that."""
    return "unreadable" if isinstance(error.__cause__, OSError) else "broken"


def _note(log: Path) -> str:
    """The signed checkpoint beside the log as it is written, empty where there is none."""
    try:
        return checkpoint_of(log).read_bytes()[:MOST_NOTE_BYTES].decode("utf-8", "replace")
    except OSError:
        return ""


def _checked(log: Path, keys: Callable[[], Keys | None], told: Sequence[str]) -> tuple[State, str, Verified | None]:
    """Whether the whole log verifies, and if not, why."""
    try:
        known = keys()
        if known is None or not known.trusted:
            unchecked = verify(log, read=read_while_written)
            return "chained", "There is no key here to check its signed checkpoint with.", unchecked
        found = _looked_at(log, known, list(_kept(told, known)))
    except KeyFileError as error:
        return "chained", f"The keys cannot be read: {error}", None
    except AuditError as error:
        return _how_bad(error), str(error), None
    if found.signed is None:
        return "chained", "It has no signed checkpoint.", found
    weaker = [_on_trial(log)]
    if found.records > found.signed:
        weaker.append("Its last record is not signed for: a crash leaves one so, or somebody without the key wrote it.")
    if not _ends_whole(log):
        weaker.append("Its last line is incomplete and left out: it is being written, or a crash left it so.")
    return "verified", " ".join(filter(None, weaker)), found


def _looked_at(log: Path, known: Keys, kept: Sequence[Checkpoint]) -> Verified:
    """Verify it, again if a daemon signed meanwhile. Raises `AuditError`, also where more follows than was signed."""
    for _ in range(MOST_LOOKS):
        before = _note(log)
        found = verify(log, keys=known, kept=kept, read=read_while_written)
        beyond = 0 if found.signed is None else found.records - found.signed
        if beyond <= UNSIGNED:
            return found
        if _note(log) == before:
            break
    raise AuditError(
        f"{log}: {beyond} records follow the {found.signed} that its signed checkpoint stands for: a daemon signs "
        "after every one, so somebody without its key has written them"
    )


def _on_trial(log: Path) -> str:
    """What weakens a checkpoint that a key beside the log has signed; empty for any other."""
    folder = log.parent / TRIAL_FOLDER
    try:
        read_signed(_note(log).encode(), Keys.trial(log.parent).trusted)
    except (CheckpointError, KeyFileError):
        return ""
    why = "whoever can write there can replace log and key together"
    return f"It is signed with the trial key in {folder}: {why}. Set signing.key_file, and keep checkpoints elsewhere."


def _kept(told: Sequence[str], keys: Keys) -> Iterator[Checkpoint]:
    """What messages have kept of the log, as far as a trusted key has signed it."""
    for note in dict.fromkeys(note for note in told if note):
        with suppress(CheckpointError):  # of another log or key: it proves nothing, neither this nor that
            yield read_signed(note.encode("utf-8", "replace"), keys.trusted)


def _ends_whole(log: Path) -> bool:
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        return file.read(1) in (b"", b"\n")


def _readable(log: Path) -> tuple[list[Record], AuditError | None]:
    """The records before the first that is not as it was written, and what is wrong with that one."""
    every: list[Record] = []
    try:
        for record in read_while_written(log):
            every.append(record)  # noqa: PERF402 - what came before the error is wanted
    except AuditError as error:
        return every, error
    return every, None


def _messages(state: Path, uid: str) -> list[Incident]:
    if not state.is_dir():
        raise ReportError(f"{state}: is no folder; give the state_dir of the daemon (--state), or its --config")
    path = state / INCIDENTS
    if not path.exists():
        raise ReportError(f"{path}: there is none: no incident was ever told here; is this the right state_dir?")
    try:
        return [msgspec.convert(line, Incident) for line in messages_of(path, uid)]
    except ExplainError as error:
        raise ReportError(str(error)) from error
    except msgspec.ValidationError as error:
        raise ReportError(
            f"{path}: incident {uid} is not as this version of Tocsin writes them: {error}; "
            "was it written by a newer one? Make the report with that"
        ) from error


def _tried(read: Callable[[], T], otherwise: T, gaps: list[str], what: str) -> T:
    try:
        return read()
    except FileNotFoundError as error:
        gaps.append(f"{error.filename}: is missing; {what} cannot be shown")
    except (ExplainError, RegistryError, TableError, KeyFileError, OSError, ValueError, KeyError, TypeError) as error:
        gaps.append(f"{what} cannot be shown: {error}")
    return otherwise
