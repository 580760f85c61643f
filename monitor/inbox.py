"""Where jobs put what they found, for the loop to take: what they find comes into the loop as an input of its turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from monitor.new_version import Prepared
from rollback.audit.anchors import Seen
from rollback.registry.registry import Move

MOST: Final = 1000
"""Findings that wait at most; of more than that the oldest are dropped: a loop that hangs must not fill the memory."""


@dataclass(frozen=True, slots=True)
class ServedOtherwise:
    """An endpoint of ``model`` answered, and not as ``version``, which the serving pointer named ``at`` that time.

    ``at`` is when the asking began (seconds since the epoch): what was done after that is not accounted for.
    """

    model: str
    version: str
    problem: str
    at: float


@dataclass(frozen=True, slots=True)
class RegistryChecked:
    """What a verification of a model's registry found, begun ``at`` (seconds since the epoch).

    ``failed`` holds each version that is not what was signed, with the reason; ``pointers`` what is wrong with pointers
    and history. ``last_known_good`` is where that pointer was, None where it could not be read. ``versions`` are those
    that were verified, ``history`` every move.
    """

    model: str
    at: float
    last_known_good: str | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    pointers: tuple[str, ...] = ()
    versions: Mapping[str, Seen] = field(default_factory=dict)
    history: tuple[Move, ...] = ()

    @property
    def known_good_failed(self) -> bool:
        """Whether the version that a rollback would go to is not what was signed."""
        return self.last_known_good in self.failed


@dataclass(frozen=True, slots=True)
class Hunted:
    """What a hunt about ``incident`` (a uid) has found: one sentence, and the SHA-256 of the file that holds it all."""

    incident: str
    summary: str
    sha256: str


@dataclass(frozen=True, slots=True)
class KeysRead:
    """Which keys the configuration's files hold now, as `monitor.key_use.key_ids` tells them."""

    keys: Mapping[str, Any]


Found: TypeAlias = ServedOtherwise | RegistryChecked | Prepared | Hunted | KeysRead


class Inbox:
    """Filled by any thread, emptied by the loop. Never blocks; ``dropped`` counts what had to give way."""

    def __init__(self, most: int = MOST) -> None:
        self._found: deque[Found] = deque(maxlen=most)
        self._lock = threading.Lock()
        self.dropped = 0

    def put(self, found: Found) -> None:
        """Add one."""
        with self._lock:
            self.dropped += len(self._found) == self._found.maxlen
            self._found.append(found)

    def drain(self) -> list[Found]:
        """Take all, oldest first."""
        with self._lock:
            found = list(self._found)
            self._found.clear()
        return found
