"""Where the daemon's state lives between runs: whole checkpoints, written atomically, and segments beside them.

A checkpoint is small because what never changes any more (closed windows kept for labels, hashes) is put once, as a
segment named by its content, and only referred to. One process at a time may hold the folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from detectors.evidence import State
from monitor.state.state_codec import CheckpointError, Segment, decode, encode, segments_in
from rollback.durable import sync_folder

__all__ = ["CheckpointError", "CheckpointStore", "MemorySegments", "Segment", "decode", "encode", "latest_state"]

_NAME: Final = re.compile(r"\d{12}-[0-9a-f]{16}")
_SEGMENT_NAME: Final = re.compile(r"[0-9a-f]{32}")
_KEPT: Final = 2
"""The latest checkpoint, and the one before: the broker may name that one after a crash between save and commit."""


class MemorySegments:
    """Segments of a run that keeps no state: in memory."""

    def __init__(self) -> None:
        self._held: dict[Segment, bytes] = {}

    def put(self, state: State) -> Segment:
        """Keep a segment; the same content has the same name."""
        data = encode(state)
        segment = _segment_of(data)
        self._held[segment] = data
        return segment

    def get(self, segment: Segment) -> State:
        """A segment that was put."""
        if segment not in self._held:
            raise CheckpointError(f"segment {segment.name} was never put")
        return _as_state(decode(self._held[segment]))


class CheckpointStore:
    """Checkpoints and segments in ``folder``, which is created and locked; `close` gives it free.

    Raises `CheckpointError` where another process holds the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments = folder / "segments"
        self._used: dict[str, frozenset[str]] = {}
        self._swept = False
        self._segments.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / "lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            holder = self._lock.read(20) or "unknown"
            self._lock.close()
            raise CheckpointError(
                f"{folder} is in use by another process (pid {holder}); stop it or set another state_dir"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        for torn in [*folder.glob("*.tmp"), *self._segments.glob("*.tmp")]:
            torn.unlink()

    def save(self, state: State) -> str:
        """Store the state and return its name, which no other state has. The one before is kept.

        It is on the disk when this returns. Segments that no kept checkpoint refers to are removed.
        """
        data = encode(state)
        names = self.names()
        number = int(names[-1].partition("-")[0]) + 1 if names else 1
        name = f"{number:012d}-{hashlib.sha256(data).hexdigest()[:16]}"
        _write(self._path(name), data)
        self._used[name] = _names_in(state)
        if len(names) >= _KEPT:
            self._prune([*names, name])
        return name

    def names(self) -> list[str]:
        """Checkpoints that can be loaded, oldest first."""
        return sorted(p.stem for p in self.folder.glob("*.state") if _NAME.fullmatch(p.stem))

    def load(self, name: str | None = None) -> tuple[str, State] | None:
        """A checkpoint by name, or the latest; None where there is none (of that name).

        A damaged file raises `CheckpointError`: falling back silently would count events twice.
        """
        names = self.names()
        if not names or (name is not None and name not in names):
            return None
        chosen = name or names[-1]
        advice = "restore it from a backup, or move it away to start from the checkpoint before it"
        return chosen, self._read(self._path(chosen), advice)

    def forget_after(self, name: str) -> None:
        """Remove the checkpoints that are newer than this one, so that saving keeps it as the one before."""
        for newer in self.names():
            if newer > name:
                self._path(newer).unlink()
                self._used.pop(newer, None)

    def put(self, state: State) -> Segment:
        """Store a segment, unless the same content is there; it is on the disk when this returns."""
        data = encode(state)
        segment = _segment_of(data)
        path = self._segment_path(segment)
        if not path.exists():
            _write(path, data)
        return segment

    def get(self, segment: Segment) -> State:
        """A segment that was put. Raises `CheckpointError` where it is missing or damaged."""
        return self._read(self._segment_path(segment), "restore it from a backup, or move the checkpoints away")

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.state"

    def _segment_path(self, segment: Segment) -> Path:
        if not _SEGMENT_NAME.fullmatch(segment.name):
            raise CheckpointError(f"{segment.name!r} is no segment name")
        return self._segments / f"{segment.name}.segment"

    def _prune(self, names: list[str]) -> None:
        dropped, kept = names[:-_KEPT], names[-_KEPT:]
        used = set().union(*(self._segments_of(name) for name in kept))
        if self._swept:
            unused = set().union(*(self._segments_of(name) for name in dropped)) - used
        else:
            # once, because a crash may have left segments to which no checkpoint came to refer
            unused = {path.stem for path in self._segments.glob("*.segment")} - used
            self._swept = True
        for name in dropped:
            self._path(name).unlink()
            self._used.pop(name, None)
        for segment in unused:
            self._segment_path(Segment(segment)).unlink(missing_ok=True)

    def _segments_of(self, name: str) -> frozenset[str]:
        if name not in self._used:
            self._used[name] = _names_in(self._read(self._path(name), "move it away"))
        return self._used[name]

    def _read(self, path: Path, advice: str) -> State:
        try:
            return _as_state(decode(path.read_bytes()))
        except FileNotFoundError:
            raise CheckpointError(f"{path}: the file is missing; {advice}") from None
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}; {advice}") from error


def latest_state(folder: Path) -> State | None:
    """The newest checkpoint in ``folder``, to look at while a daemon holds the folder; None where there is none."""
    for path in sorted((p for p in folder.glob("*.state") if _NAME.fullmatch(p.stem)), reverse=True):
        try:
            return _as_state(decode(path.read_bytes()))
        except FileNotFoundError:  # a newer one has just replaced it
            continue
    return None


def _segment_of(data: bytes) -> Segment:
    return Segment(hashlib.sha256(data).hexdigest()[:32])


def _names_in(state: State) -> frozenset[str]:
    return frozenset(segment.name for segment in segments_in(state))


def _as_state(found: Any) -> State:
    if not isinstance(found, dict):
        raise CheckpointError(f"the file holds {type(found).__name__}, expected a state")
    return found


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing, also when the power goes."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
