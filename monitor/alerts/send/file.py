"""One line an alert, appended to a file that is rotated by size, or by another program, or removed at any time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path

from monitor.alerts.alert import Alert
from monitor.alerts.sink import Sink, SinkRetryableError, SinkSurroundings
from monitor.settings.sink_sections import SinkConfig


class FileSink:
    """A `Sink`. Lines are on the disk when `send` returns; after a full disk a torn line is ended, and sent again.

    Before the file grows beyond ``rotate_bytes`` it is renamed to ``.1``, that one to ``.2``, and so on;
    ``rotate_keep`` of them are kept.
    """

    def __init__(self, path: Path, rotate_bytes: int | None = None, rotate_keep: int = 5) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._rotate_keep = rotate_keep
        self._file: FileIO | None = None

    def send(self, alerts: Sequence[Alert]) -> int:
        """See `Sink`."""
        if not alerts:
            return 0
        try:
            for lines in self._shares(alerts):
                self._append(lines)
        except OSError as error:
            self._let_go()
            raise SinkRetryableError(f"{self._path} cannot be written: {error.strerror or error}") from error
        return 0

    def close(self) -> None:
        """See `Sink`."""
        self._let_go()

    def _append(self, lines: bytes) -> None:
        file = self._current()
        if self._rotate_bytes is not None and 0 < file.seek(0, os.SEEK_END) > self._rotate_bytes - len(lines):
            self._let_go()
            self._rotate()
            file = self._current()
        rest = memoryview(lines)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())

    def _shares(self, alerts: Sequence[Alert]) -> Iterator[bytes]:
        """All lines at once, or, where the file is rotated, no more of them than one file holds."""
        share = b""
        for alert in alerts:
            line = alert.body + b"\n"
            if share and self._rotate_bytes is not None and len(share) + len(line) > self._rotate_bytes:
                yield share
                share = b""
            share += line
        yield share

    def _rotate(self) -> None:
        for number in range(self._rotate_keep, 0, -1):
            older = self._path if number == 1 else self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _current(self) -> FileIO:
        """The file of that name now: after a rotation it is another one."""
        if self._file is not None and self._rotated(self._file):
            self._let_go()
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = FileIO(self._path, "a+")
            if self._torn(self._file):
                self._file.write(b"\n")
        return self._file

    def _rotated(self, file: FileIO) -> bool:
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return True
        held = os.fstat(file.fileno())
        return (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino)

    def _torn(self, file: FileIO) -> bool:
        """Whether the last line has no end."""
        size = file.seek(0, os.SEEK_END)
        return size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"

    def _let_go(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:  # noqa: ARG001 - every sender is made so; a file needs no surroundings
    """The sink."""
    return FileSink(config.file(), config.rotate_bytes, config.rotate_keep)
