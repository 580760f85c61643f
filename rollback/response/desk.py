"""Where people answer: each answer is a file in a folder, and so is the order to hold everything.

Whoever may write to that folder may approve; it lies under ``state_dir``, which only Tocsin's own user should write to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

HOLD: Final = "HOLD"
"""The file whose presence holds everything: no step is begun while it is there."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person decided about a case. ``known_good``: the promoted version also becomes last known good."""

    key: str
    decision: Literal["approve", "decline", "again"]
    by: str
    known_good: bool = False
    reason: str = ""


# made once, at import: msgspec may crash where two threads are the first to decode a type
_ANSWER: Final = msgspec.json.Decoder(Answer)


class Desk(Protocol):
    """The answers that have come, and whether everything is to be held."""

    def answers(self) -> Sequence[Answer]:
        """Those that were not yet `taken`, oldest first."""

    def taken(self, answer: Answer) -> None:
        """This one is in the audit log."""

    def held(self) -> bool:
        """Whether no step may be begun."""


class MemoryDesk:
    """A desk without a folder."""

    def __init__(self) -> None:
        self._answers: list[Answer] = []
        self.hold = False

    def give(self, answer: Answer) -> None:
        """Put an answer down."""
        self._answers.append(answer)

    def answers(self) -> Sequence[Answer]:
        """See `Desk`."""
        return tuple(self._answers)

    def taken(self, answer: Answer) -> None:
        """See `Desk`."""
        self._answers.remove(answer)

    def held(self) -> bool:
        """See `Desk`."""
        return self.hold


class FolderDesk:
    """A desk in a folder, shared between the daemon and the commands that answer.

    ``complain`` hears once of each file that cannot be used, and why; one that is written anew is read again. Raises
    `OSError` where an answer cannot be put down.
    """

    def __init__(self, folder: Path, complain: Callable[[str], None] = lambda _: None) -> None:
        self._folder = folder
        self._complain = complain
        self._unusable: set[tuple[str, int]] = set()

    def give(self, answer: Answer) -> None:
        """Put an answer down; a later one about the same case replaces it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(answer)
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(answer))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def answers(self) -> Sequence[Answer]:
        """See `Desk`."""
        found = []
        for path in self._files():
            try:
                found.append(_ANSWER.decode(path.read_bytes()))
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                self._pass_over(path, f"{path}: holds no answer: {error}")
        return found

    def taken(self, answer: Answer) -> None:
        """See `Desk`."""
        path = self._path(answer)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:  # somebody else's folder: the answer stays, and is not taken twice
            self._pass_over(path, f"{path}: was taken up, but cannot be removed: {error.strerror}")

    def held(self) -> bool:
        """See `Desk`. Where that cannot be seen, it is taken for a hold."""
        try:
            return (self._folder / HOLD).exists()
        except OSError as error:
            self._pass_over(self._folder / HOLD, f"{self._folder / HOLD}: cannot be looked for: {error.strerror}")
            return True

    def hold(self) -> None:
        """From now on no step is begun."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / HOLD).touch()

    def resume(self) -> None:
        """Steps are begun again."""
        (self._folder / HOLD).unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """The answers' files, oldest first; asked at every turn, so the usual case of none costs one system call."""
        try:
            names = [entry.name for entry in os.scandir(self._folder) if entry.name.endswith(".json")]
        except FileNotFoundError:
            return []
        except OSError as error:
            self._pass_over(self._folder, f"{self._folder}: cannot be read: {error.strerror}")
            return []
        timed = sorted((_changed(self._folder / name), name) for name in names)
        return [self._folder / name for at, name in timed if (name, at) not in self._unusable]

    def _pass_over(self, path: Path, why: str) -> None:
        known = (path.name, _changed(path))
        if known not in self._unusable:
            self._unusable.add(known)
            self._complain(why)

    def _path(self, answer: Answer) -> Path:
        return self._folder / f"{hashlib.sha256(answer.key.encode()).hexdigest()[:32]}.json"


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
