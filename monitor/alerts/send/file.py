"""One line an alert, appended to a file that another program may rotate or remove at any time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

from monitor.alerts.alert import Alert
from monitor.alerts.sink import Sink, SinkRetryableError, SinkSurroundings
from monitor.settings.sink_sections import SinkConfig


class FileSink:
    """A `Sink`. Lines are on the disk when `send` returns; after a full disk a torn line is ended, and sent again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None

    def send(self, alerts: Sequence[Alert]) -> int:
        """See `Sink`."""
        if not alerts:
            return 0
        try:
            file = self._current()
            rest = memoryview(b"".join(alert.body + b"\n" for alert in alerts))
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError as error:
            self._let_go()
            raise SinkRetryableError(f"{self._path} cannot be written: {error.strerror or error}") from error
        return 0

    def close(self) -> None:
        """See `Sink`."""
        self._let_go()

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
    return FileSink(config.file())
