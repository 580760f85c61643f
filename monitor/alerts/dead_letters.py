"""Alerts that will never be taken, kept for a person: one line of JSON each, with the reason.

`tocsin alerts replay` sends them again once their reason is gone, also while the daemon runs: a lock keeps the two from
losing each other's lines.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from monitor.alerts.alert import Alert
from rollback.durable import replace_file

log = structlog.get_logger()

FILE: Final = "dead.ndjson"
"""Below the sink's folder."""
MOST_BYTES: Final = 10_485_760
WRITING: Final = ".lock"
REPLAYING: Final = ".replay.lock"
"""One replay after the other; letters are put meanwhile."""


class Letter(msgspec.Struct, frozen=True):
    """``alert`` is what was not taken: the body of an alert whose other fields are ``head``; else the loop's line."""

    reason: str
    alert: str
    head: dict[str, Any] | None = None

    def as_alert(self) -> Alert | None:
        """The alert as it was; None where it never was one. Raises `msgspec.ValidationError`."""
        if self.head is None:
            return None
        alert = msgspec.convert({**self.head, "body": ""}, Alert)
        return msgspec.structs.replace(alert, body=self.alert.encode())


_LETTER: Final = msgspec.json.Decoder(Letter)


class DeadLetters:
    """Appends to the file until it has ``most_bytes``; from then on they are only logged."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._most_bytes = most_bytes

    @property
    def size_bytes(self) -> int:
        """How much waits for a person; 0 where the disk does not say."""
        try:
            return self._size()
        except OSError:
            return 0

    def put(self, alert: Alert, reason: str) -> bool:
        """Keep an alert; whether there was room. A disk that does not take it is said, and holds nothing up."""
        fields = {name: getattr(alert, name) for name in alert.__struct_fields__ if name != "body"}
        return self._put(Letter(reason, alert.body.decode(errors="replace"), fields))

    def put_line(self, line: bytes, reason: str) -> bool:
        """The same for a line of the loop that no alert can be made of."""
        return self._put(Letter(reason, line.decode(errors="replace")))

    @contextmanager
    def taken(self) -> Iterator[list[Letter]]:
        """All letters. What is left in the list at the end stays; where that is never reached, all of them do.

        Letters that are put meanwhile stay behind them. Raises `OSError`, and `msgspec.DecodeError` for a file that
        somebody has damaged.
        """
        with self._locked(REPLAYING):
            with self._locked(WRITING):
                before = self._content()
            letters = [_LETTER.decode(line) for line in before.splitlines() if line.strip()]
            yield letters
            left = b"".join(_line(letter) for letter in letters)
            with self._locked(WRITING):
                now = self._content()
                # a person may have removed or changed it meanwhile
                replace_file(self._path, left + now.removeprefix(before))

    def _put(self, letter: Letter) -> bool:
        log.warning("an alert can never be sent", file=str(self._path), reason=letter.reason)
        line = _line(letter)
        try:
            with self._locked(WRITING):
                size = self._size()
                if size + len(line) > self._most_bytes:
                    log.warning("the file of dead letters is full: replay or remove it", file=str(self._path))
                    return False
                self._append(line, size)
        except OSError as error:
            log.warning("a dead letter was not kept", file=str(self._path), reason=str(error))
            return False
        return True

    def _append(self, line: bytes, size: int) -> None:
        """All of it or nothing; on the disk, because the spool forgets it next."""
        with self._path.open("ab", buffering=0) as file:
            if file.write(line) < len(line):
                os.truncate(self._path, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())

    @contextmanager
    def _locked(self, suffix: str) -> Iterator[None]:
        with self._path.with_suffix(suffix).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _content(self) -> bytes:
        return self._path.read_bytes() if self._path.exists() else b""


def _line(letter: Letter) -> bytes:
    return msgspec.json.encode(letter) + b"\n"


def reasons(letters: Sequence[Letter]) -> dict[str, int]:
    """How many there are of each reason."""
    counts: dict[str, int] = {}
    for letter in letters:
        counts[letter.reason] = counts.get(letter.reason, 0) + 1
    return counts
