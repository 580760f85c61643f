"""Line files whose length belongs to the checkpoint, so that every line is there exactly once.

What was written after the checkpoint is cut off when it is loaded, and written again.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rollback.durable import sync_folder

MOST_HELD: Final = 8 << 20
"""Bytes of lines that wait: while the broker takes no commit nothing is saved, and events may come all the same."""


class OutputFileError(Exception):
    """An output file does not fit to the checkpoint; the message says which and what to do."""


class OutputFile:
    """Appends lines. ``position`` is the length in bytes, which goes into the checkpoint after `sync`.

    Lines are held until then: a reader never sees half of one, nor a window before its incident. Only the latter is
    given up where more than `MOST_HELD` would be held.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.position = self._file.tell()
        sync_folder(path.parent)

    def append(self, line: bytes) -> None:
        """Write one line, given without its end."""
        self._held += line, b"\n"
        self._held_bytes += len(line) + 1
        self.position += len(line) + 1
        if self._held_bytes > MOST_HELD:
            self.flush()

    def flush(self) -> None:
        """Let readers see what was appended."""
        left = memoryview(b"".join(self._held))
        self._held.clear()
        self._held_bytes = 0
        while left:
            left = left[self._file.write(left) :]

    def sync(self) -> None:
        """What was appended is on the disk when this returns."""
        self.flush()
        os.fsync(self._file.fileno())

    def truncate_to(self, position: int) -> None:
        """Forget what was written after the checkpoint. Raises `OutputFileError` where the file is too short."""
        self.flush()
        if position > self.position:
            raise OutputFileError(
                f"{self.path} has {self.position} bytes, but the checkpoint was made when it had {position}: "
                "put the missing part back, or move the checkpoints away to start anew"
            )
        os.ftruncate(self._file.fileno(), position)
        self.position = position
        self.sync()

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
