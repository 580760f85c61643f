"""Where people answer: each answer is a file in a folder, and so is the order to hold everything.

Whoever may write to that folder may approve; it lies under ``state_dir``, which only Tocsin's own user should write to.
Where the keys of those who may approve are configured, an answer counts only with the signature of whom it names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

from rollback.durable import read_plain, replace_file
from rollback.signing.envelope import SignatureError, seal, unseal
from rollback.signing.keys import PublicKey, SigningKey

HOLD: Final = "HOLD"
"""The file whose presence holds everything: no step is begun while it is there."""
MOST_BYTES: Final = 65_536
"""No answer is longer."""
MOST_SAID: Final = 1000
"""So much of such a file is told as the reason."""
PAYLOAD_TYPE: Final = "application/vnd.tocsin.answer+json"


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person decided about a case. ``known_good``: the promoted version also becomes last known good.

    ``given_at`` (seconds since the epoch) is when it was signed, where it was: an answer is taken once. ``log`` is then
    the name of the audit log that it is for: an answer for one installation is none for another.
    """

    key: str
    decision: Literal["approve", "decline", "again"]
    by: str
    known_good: bool = False
    reason: str = ""
    given_at: float = 0.0
    log: str = ""


# made once, at import: msgspec may crash where two threads are the first to decode a type
_ANSWER: Final = msgspec.json.Decoder(Answer)


class Desk(Protocol):
    """The answers that have come, and whether everything is to be held."""

    def answers(self) -> Sequence[Answer]:
        """Those that were not yet `taken`, oldest first."""

    def taken(self, answer: Answer) -> None:
        """This one is in the audit log."""

    def held(self) -> str:
        """Why no step may be begun, empty where it may."""


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

    def held(self) -> str:
        """See `Desk`."""
        return "held" if self.hold else ""


@dataclass(frozen=True, slots=True)
class House:
    """Who may answer, and what holds everything besides the file in the folder.

    ``approvers`` are the public keys of those whose answers count, by name; without any, everybody's count. While
    ``held`` is set or ``hold_file`` exists no step is begun.
    """

    approvers: Mapping[str, PublicKey] = field(default_factory=dict)
    held: bool = False
    hold_file: Path | None = None


class FolderDesk:
    """A desk in a folder, shared between the daemon and the commands that answer.

    ``complain`` hears once of each file that cannot be used, and why; one that is written anew is read again. Raises
    `OSError` where an answer cannot be put down.
    """

    def __init__(
        self, folder: Path, complain: Callable[[str], None] = lambda _: None, house: House | None = None
    ) -> None:
        self._folder = folder
        self._complain = complain
        self._house = house or House()
        self._unusable: set[tuple[str, int]] = set()
        self._read_at: dict[Path, int] = {}

    def give(self, answer: Answer, key: SigningKey | None = None) -> None:
        """Put an answer down, signed where there is a ``key``; it replaces this person's earlier one about the case."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content = msgspec.json.encode(answer)
        replace_file(self._path(answer), content if key is None else seal(content, PAYLOAD_TYPE, key))

    def answers(self) -> Sequence[Answer]:
        """See `Desk`."""
        found: list[Answer] = []
        self._read_at.clear()
        for path in self._files():
            changed = _changed(path)
            try:
                answer = self._read(path)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError, SignatureError, RecursionError) as error:
                self._pass_over(path, f"{path}: holds no answer: {error}")
                continue
            self._read_at[path] = changed
            found.append(answer)
        return found

    def taken(self, answer: Answer) -> None:
        """See `Desk`. An answer that has replaced it meanwhile stays."""
        path = self._path(answer)
        if _changed(path) != self._read_at.get(path):
            return
        try:
            path.unlink(missing_ok=True)
        except OSError as error:  # somebody else's folder: the answer stays, and is not taken twice
            self._pass_over(path, f"{path}: was taken up, but cannot be removed: {error.strerror}")

    def held(self) -> str:
        """See `Desk`. Where that cannot be seen, it is taken for a hold."""
        if self._house.held:
            return "the configuration says hold"
        for path in (self._folder / HOLD, self._house.hold_file):
            try:
                if path is not None and path.exists():
                    return path.read_text(encoding="utf-8", errors="replace")[:MOST_SAID].strip() or f"{path} is there"
            except OSError as error:
                why = f"{path}: cannot be looked for: {error.strerror}"
                self._pass_over(self._folder / HOLD, why)
                return why
        return ""

    def hold(self, why: str = "") -> None:
        """From now on no step is begun."""
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._folder / HOLD, why.encode())

    def resume(self) -> None:
        """Steps are begun again."""
        (self._folder / HOLD).unlink(missing_ok=True)

    def _read(self, path: Path) -> Answer:
        answer = self._signed(read_plain(path, MOST_BYTES))
        if not answer.by or answer.by != answer.by.strip():
            raise SignatureError(f"{answer.by!r} is nobody's name")
        if path != self._path(answer):
            raise SignatureError("is not called as its answer would be: only tocsin response puts answers here")
        return answer

    def _signed(self, raw: bytes) -> Answer:
        if not self._house.approvers:
            return _ANSWER.decode(raw)
        known = {key.key_id: key for key in self._house.approvers.values()}
        content, key = unseal(raw, PAYLOAD_TYPE, known)
        answer = _ANSWER.decode(content)
        if answer.given_at <= 0:
            raise SignatureError("does not say when it was given")
        if self._house.approvers.get(answer.by) != key:
            raise SignatureError(
                f"is signed by key {key.key_id}, which is not that of {answer.by!r}, who is said to answer"
            )
        return answer

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
        about = msgspec.json.encode([answer.key, answer.by])
        return self._folder / f"{hashlib.sha256(about).hexdigest()[:32]}.json"


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
