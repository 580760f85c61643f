"""When a receiver is called again after it has failed, and with how much: backoff with jitter, and a circuit breaker.

Closed: alerts flow. After `FAILURES` in a row it is open: the receiver is left alone until the wait is over. Then it is
half open: one alert goes as a probe, and closes or opens it again. (M. Nygard, Release It!; the waits are exponential.)
"""

from __future__ import annotations

import random
from typing import Final, Literal, TypeAlias

State: TypeAlias = Literal["closed", "half_open", "open"]
STATES: Final[tuple[State, ...]] = ("closed", "half_open", "open")

FAILURES: Final = 5
"""So many in a row open it."""
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 60.0
LONGEST_ASKED_SECONDS: Final = 600.0
"""A receiver that asks for more patience is asked again all the same."""
WELL_SECONDS: Final = 10.0
"""A receiver that has been well for so long starts with a short wait again when it fails."""


class Breaker:
    """All times are of one clock in seconds that never goes back. ``rng`` spreads the attempts of many watchers."""

    def __init__(self, rng: random.Random, now: float) -> None:
        self._rng = rng
        self._failures = 0
        self._well_since: float | None = None
        self.due_at = now
        """Before that the receiver is not called."""
        self.state: State = "closed"

    @property
    def probing(self) -> bool:
        """Whether only one alert may go."""
        return self.state == "half_open"

    def admits(self, now: float) -> bool:
        """Whether an attempt may be made now; an open breaker that is due becomes half open."""
        if now < self.due_at:
            return False
        if self.state == "open":
            self.state = "half_open"
        return True

    def hurry(self, now: float) -> None:
        """The process ends: one last attempt need not wait."""
        self.due_at = min(self.due_at, now)

    def pause(self, until: float) -> None:
        """Nothing has failed, and nothing is to be done before ``until``."""
        self.due_at = max(self.due_at, until)

    def failed(self, now: float, asked_for: float = 0.0) -> float:
        """Wait twice as long as the last time, give or take a quarter, and as long as is ``asked_for``; returns it."""
        self._well_since = None
        wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(self._failures, 10))
        wait = max(wait * self._rng.uniform(0.75, 1.25), min(asked_for, LONGEST_ASKED_SECONDS))
        self._failures += 1
        self.due_at = now + wait
        if self.state == "half_open" or self._failures >= FAILURES:
            self.state = "open"
        return wait

    def succeeded(self, now: float) -> None:
        """The receiver answers. One that takes alerts and hangs up each time must not be called every second."""
        self.state = "closed"
        self._well_since = now if self._well_since is None else self._well_since
        if now - self._well_since >= WELL_SECONDS:
            self._failures = 0
