"""Being told to stop."""

from __future__ import annotations

import signal
import time
from typing import Final

LOOK_UP_SECONDS: Final = 0.1


class StoppedError(Exception):
    """Told to stop while waiting."""


class Stop:
    """Set by SIGTERM and SIGINT: finish the turn, settle, leave. The same signal again ends the process at once."""

    def __init__(self) -> None:
        self.wanted = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)

    def wait(self, seconds: float) -> None:
        """Sleep; raises `StoppedError` as soon as a signal comes."""
        until = time.monotonic() + seconds
        while not self.wanted and time.monotonic() < until:
            time.sleep(min(LOOK_UP_SECONDS, seconds))
        if self.wanted:
            raise StoppedError

    def _set(self, number: int, _frame: object) -> None:
        """Says nothing: what was interrupted may be writing to the log."""
        self.wanted = True
        signal.signal(number, signal.SIG_DFL)
