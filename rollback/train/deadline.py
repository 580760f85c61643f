"""When a retraining has to be over: counted from its first start, also where the one who waits for it was restarted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from rollback.durable import replace_file

STARTED: Final = "started.json"


class Started(msgspec.Struct, frozen=True):
    """`started.json`: when the order was first started, seconds since the epoch."""

    at: float


def seconds_left(folder: Path, timeout_seconds: float, now: Callable[[], float]) -> float:
    """How much of the time is left to the retraining in a folder; it begins where it has not begun. Raises `OSError`.

    A clock that was set back gives no more than the whole time. A file that cannot be read begins anew.
    """
    at = now()
    try:
        begun = msgspec.json.decode((folder / STARTED).read_bytes(), type=Started).at
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        replace_file(folder / STARTED, msgspec.json.encode(Started(at)))
        begun = at
    return timeout_seconds - max(at - begun, 0.0)


def over(folder: Path) -> None:
    """The order has come to its end: ordered again, it has its whole time."""
    (folder / STARTED).unlink(missing_ok=True)
