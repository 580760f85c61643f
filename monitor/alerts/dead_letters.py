"""Alerts that will never be taken, kept for a person: one line of JSON each, with the reason.

`tocsin alerts replay` sends them again once their reason is gone, also while the daemon runs: a lock keeps the two from
losing each other's lines.
"""

from __future__ import annotations

import fcntl
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

    def put(self, alert: Alert, reason: str) -> None:
        """Keep an alert; a disk that does not take it is said, and holds nothing up."""
        fields = {name: getattr(alert, name) for name in alert.__struct_fields__ if name != "body"}
        self._put(Letter(reason, alert.body.decode(errors="replace"), fields))

    def put_line(self, line: bytes, reason: str) -> None:
        """The same for a line of the loop that no alert can be made of."""
        self._put(Letter(reason, line.decode(errors="replace")))

    @contextmanager
    def taken(self) -> Iterator[list[Letter]]:
        """All letters. What is left in the list at the end stays; where that is never reached, all of them do.

        Letters that are put meanwhile stay behind them. Raises `OSError`, and `msgspec.DecodeError` for a file that
        somebody has damaged.
        """
        with self._locked():
            before = self._content()
        letters = [_LETTER.decode(line) for line in before.splitlines() if line.strip()]
        yield letters
        left = b"".join(_line(letter) for letter in letters)
        with self._locked():
            replace_file(self._path, left + self._content()[len(before) :])

    def _put(self, letter: Letter) -> None:
        log.warning("an alert can never be sent", file=str(self._path), reason=letter.reason)
        line = _line(letter)
        try:
            with self._locked():
                if self._size() + len(line) > self._most_bytes:
                    log.warning("the file of dead letters is full: replay or remove it", file=str(self._path))
                    return
                with self._path.open("ab") as file:
                    file.write(line)
        except OSError as error:
            log.warning("a dead letter was not kept", file=str(self._path), reason=str(error))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._path.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

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
