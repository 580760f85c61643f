"""Whether this process is alive and ready. No verdict is known here: drift must never take a Pod out of service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Health:
    """Set by the loop, read by the listener's threads.

    Alive: the loop has turned within ``patience`` seconds (of ``clock``), which leaves time to fit a panel of
    detectors within a turn; Kafka, too, waits as long between two polls before it gives our partitions away. Ready:
    alive, the source has given us something to read, and the models are loaded.
    """

    clock: Callable[[], float]
    patience: float = 300.0
    assigned: bool = False
    loaded: bool = False

    def __post_init__(self) -> None:
        self._turned_at = self.clock()

    def turned(self) -> None:
        """The loop has turned once more."""
        self._turned_at = self.clock()

    def why_dead(self) -> str | None:
        """Why the process should be restarted; None while it is alive."""
        silent = self.clock() - self._turned_at
        return f"the loop has not turned for {silent:.0f} s" if silent > self.patience else None

    def why_unready(self) -> str | None:
        """What is missing before events are watched; None when ready."""
        if not self.loaded:
            return "the models are not loaded yet"
        if not self.assigned:
            return "the source has assigned nothing to read yet"
        return self.why_dead()
