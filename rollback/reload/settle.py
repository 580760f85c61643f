"""Waiting for servers that follow by themselves: so that they are not held to be wrong while they still load."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from rollback.reload.reloader import Observation

LOOK_SECONDS: Final = 0.2
"""Between two looks."""


def settle(observe: Callable[[], Sequence[Observation]], ends: float) -> None:
    """Look, once at least, until nobody has a problem; begin no look after ``ends``, by the monotonic clock.

    What is wrong then is for others to say.
    """
    while any(seen.problem for seen in observe()) and time.monotonic() + LOOK_SECONDS < ends:
        time.sleep(LOOK_SECONDS)
