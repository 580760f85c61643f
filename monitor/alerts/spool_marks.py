"""Up to where a spool was delivered and written, and what of it is known to be spoilt: two small files beside it.

Neither is synced, and either may be lost: without the first, alerts are sent again; without the second, half a record
that a crash left is taken for one that the disk spoilt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import structlog

log = structlog.get_logger()

CURSOR: Final = "delivered.json"
WRITTEN: Final = "written.json"

T = TypeVar("T")


class Mark(NamedTuple):
    """A place in a spool."""

    segment: int
    offset: int


class Written(msgspec.Struct, frozen=True):
    """``end`` is behind the last record that was acknowledged; ``spoilt`` places were counted and said already."""

    end: Mark
    spoilt: tuple[Mark, ...] = ()


class Marks:
    """The two files, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def delivered(self) -> Mark:
        """The place up to which alerts are delivered."""
        return self._read(CURSOR, Mark) or Mark(1, 0)

    def written(self) -> Written | None:
        """What is known of what was written; None where nothing is."""
        return self._read(WRITTEN, Written)

    def save_delivered(self, mark: Mark) -> None:
        """An older place that stays is as good, but for repeats."""
        self._save(CURSOR, mark)

    def save_written(self, written: Written) -> None:
        """After what was written is on the disk."""
        self._save(WRITTEN, written)

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode((self._folder / name).read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("a place in a spool is unreadable: alerts may be sent again", file=name, reason=str(error))
            return None

    def _save(self, name: str, content: Any) -> None:
        path = self._folder / name
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_bytes(msgspec.json.encode(content))
            temporary.replace(path)
        except OSError as error:
            log.warning("a place in a spool is not kept: alerts may be sent again", file=str(path), reason=str(error))
