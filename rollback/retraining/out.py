"""The folder of one retraining: who works in it, what was planned, what came of it. Every file appears complete.

One request has one folder. `attempt.json` is written before the candidate is added to the registry and its token lies
in the candidate's lineage: whoever goes on after a crash finds the candidate by it and adds no second one.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from rollback.durable import replace_file, sync_folder
from rollback.gates.check import Check, Figure, Skipped
from rollback.registry.registry import Registry
from rollback.retraining.stages import FILE as STAGES
from rollback.retraining.stages import Stage, Stages
from rollback.tables.table import Column, write_table

Content = TypeVar("Content")
Result = Literal["passed", "rejected", "vetting"]
LOCK: Final = ".lock"
ATTEMPT: Final = "attempt.json"
CANDIDATE: Final = "candidate.json"
GATE: Final = "gate.json"
PAGE: Final = "gate.html"
REMOVED: Final = "removed.parquet"
RETAINED: Final = "retained.parquet"
BELIEVED: Final = "believed.parquet"
VETTING: Final = "vetting.ndjson"
REPAIRED: Final = "repaired.parquet"
BATCHES: Final = "batches.json"
RESULTS: Final = (CANDIDATE, GATE, PAGE, REMOVED, RETAINED, BELIEVED, VETTING, REPAIRED, BATCHES, STAGES)
MOST_BYTES: Final = 16_777_216
"""Of a JSON file here; no retraining writes as much."""
LEARNED: Final = ".learned.csv.zst"
"""What the candidate was trained on, while the registry takes a copy."""


class OtherRequestError(Exception):
    """The folder belongs to another request."""


class OutFileError(Exception):
    """A file of the folder cannot be read; the message says which and what to do."""


class Attempt(msgspec.Struct, frozen=True):
    """``request`` is the digest of what was asked for, ``token`` marks the candidate, ``version`` is planned for it."""

    request: str
    token: str
    version: str | None = None


class Candidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """`candidate.json`. ``decisions`` is the SHA-256 of the file of decisions that it was made by, if any.

    ``reviews`` is the hash of the last record in the audit log beside that file: with it in another log, nobody can
    write those decisions anew.
    """

    version: str
    decisions: str | None = None
    reviews: str | None = None

    @classmethod
    def of(cls, version: str, told: Mapping[str, Any]) -> Candidate:
        """As the lineage of its retraining tells."""
        return cls(version, told.get("decisions"), told.get("reviews"))


class Gate(msgspec.Struct, frozen=True):
    """`gate.json`. ``result`` also tells a failed check from rows that a person has to label first.

    ``figures`` are shown and decide nothing, ``skipped`` could not run. ``error_budget`` is how often all checks
    together fail a clean candidate.
    """

    passed: bool
    result: Result
    checks: tuple[Check, ...]
    remarks: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    error_budget: float | None = None

    @property
    def exit_code(self) -> int:
        """How a command ends that got this answer."""
        return {"passed": 0, "rejected": 1, "vetting": 3}[self.result]


def at_work(folder: Path) -> bool:
    """Whether a process works in the folder of a retraining now."""
    try:
        with (folder / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def worker(folder: Path) -> int | None:
    """The number of the process that works in the folder; None where nobody does, or it cannot be told for sure.

    A number in the file may be that of an earlier worker, and belong to somebody else by now: the process must have
    the folder among its arguments.
    """
    try:
        number = int((folder / LOCK).read_bytes())
        arguments = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return number if at_work(folder) and os.fsencode(folder) in arguments else None


class Out:
    """The folder; only within `Out.locked`. ``clock`` gives seconds since the epoch."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._clock = clock
        self._stages = Stages()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait until nobody else works in the folder, then keep them out; a process that dies lets go of it.

        Raises `OutFileError` where a file is in its place.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise OutFileError(f"{self.folder}: is a file; name a folder for what comes of the retraining")
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("a+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.truncate(0)
            lock.write(b"%d" % os.getpid())
            lock.flush()
            yield

    def begin(self, request: str, registry: Registry) -> Attempt:
        """The attempt that this folder is for, a new one where nothing came of the last. Raises `OtherRequestError`."""
        attempt = read_json(self.folder / ATTEMPT, Attempt)
        if attempt is None:
            if (self.folder / CANDIDATE).exists() or (self.folder / GATE).exists():
                raise OtherRequestError(f"{self.folder}: holds results but no {ATTEMPT}; choose another folder")
            attempt = Attempt(request, secrets.token_hex(16))
            self.write(ATTEMPT, msgspec.json.encode(attempt))
        elif attempt.request != request and not _added(attempt, registry):  # nothing came of it: its cause was mended
            attempt = Attempt(request, secrets.token_hex(16))
            self.write(ATTEMPT, msgspec.json.encode(attempt))
        elif attempt.request != request:
            raise OtherRequestError(
                f"{self.folder}: is the folder of another request (other data, answers, options or registry); "
                "choose another folder, or remove this one"
            )
        return attempt

    def plan(self, attempt: Attempt, version: str) -> None:
        """Say which version the candidate is going to be."""
        self.write(ATTEMPT, msgspec.json.encode(msgspec.structs.replace(attempt, version=version)))

    def finished(self, attempt: Attempt, registry: Registry) -> tuple[Candidate, Gate] | None:
        """What came of the attempt; completes what a crash left between registry and folder. None: start over."""
        if attempt.version is None or not _added(attempt, registry):
            return None
        gate = read_json(self.folder / GATE, Gate)
        if gate is None:
            raise OutFileError(f"{self.folder / GATE}: was removed after version {attempt.version} had been added")
        (self.folder / LEARNED).unlink(missing_ok=True)
        candidate = Candidate.of(attempt.version, _told(attempt.version, registry))
        self.write(CANDIDATE, msgspec.json.encode(candidate))
        return candidate, gate

    def set_aside(self) -> Path:
        """Put what came of the folder's request into a folder of its own below, named by the candidate; which it is.

        `attempt.json` goes last: where this is cut off it is done once more. Raises `OtherRequestError` where it is
        not known what the folder is of.
        """
        with self.locked():
            attempt = read_json(self.folder / ATTEMPT, Attempt)
            if attempt is None or attempt.version is None:
                why = f"no {ATTEMPT} says whose results it holds; choose another folder"
                raise OtherRequestError(f"{self.folder}: {why}")
            aside = self.folder / f"candidate-{attempt.version}"
            aside.mkdir(exist_ok=True)
            for name in (*RESULTS, ATTEMPT):
                if (self.folder / name).exists():
                    (self.folder / name).replace(aside / name)
            sync_folder(aside)
            sync_folder(self.folder)
        return aside

    def enter(self, stage: Stage) -> None:
        """Say in `stages.json` that a stage begins; the one before is over."""
        self._say(self._stages.entered(stage, self._clock()))

    def leave(self) -> None:
        """Say that the last stage is over."""
        self._say(self._stages.over(self._clock()))

    def _say(self, stages: Stages) -> None:
        self._stages = stages
        self.write(STAGES, msgspec.json.encode(stages))

    def write(self, name: str, content: bytes) -> None:
        """A file that appears complete or not at all, and stays."""
        replace_file(self.folder / name, content)

    def require_parquet(self) -> None:
        """Fail before the work rather than after it. Raises `TableError` where pyarrow is missing."""
        tried = self.folder / f".part.{REMOVED}"
        write_table(tried, {})
        tried.unlink()

    def write_columns(self, name: str, columns: Mapping[str, Column]) -> None:
        """The same for a table. Raises `rollback.tables.table.TableError`, also where pyarrow is missing."""
        temporary = self.folder / f".part.{name}"
        write_table(temporary, columns)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(self.folder / name)
        sync_folder(self.folder)

    def write_lines(self, name: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """One JSON object per line."""
        self.write(name, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def _added(attempt: Attempt, registry: Registry) -> bool:
    """Whether the attempt's candidate is in the registry; somebody else's version may have got its number."""
    if attempt.version is None or attempt.version not in registry.versions():
        return False
    return bool(_told(attempt.version, registry).get("token") == attempt.token)


def _told(version: str, registry: Registry) -> Mapping[str, Any]:
    """The lineage of a version's retraining; empty where none made it."""
    found: Mapping[str, Any] = registry.load(version).manifest.lineage.get("retrain", {})
    return found


def read_json(path: Path, kind: type[Content]) -> Content | None:
    """The content of a file, None where there is none. Raises `OutFileError`, also where it is nested without end."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise OutFileError(f"{path}: is larger than {MOST_BYTES} bytes; choose another folder")
        return msgspec.json.decode(content, type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OutFileError(f"{path}: cannot be read: {error}; choose another folder") from error
