"""Notices a partition that has messages but does not move."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.sources.source import Partition


class Watchdog:
    """Says which partitions have stood still for ``patience`` seconds while the broker had more for us.

    Long-running consumers are known to stop fetching a partition without an error. Time is passed in (seconds of a
    monotonic clock). A pause between two calls that is longer than ``patience`` is ours, and counts for nothing.

    >>> watchdog, events = Watchdog(patience=60.0), Partition("events", 0)
    >>> watchdog.stalled({events: 7}, {events: 9}, now=0.0)
    []
    >>> watchdog.stalled({events: 7}, {events: 9}, now=60.0)
    [Partition(topic='events', number=0)]
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._standing: dict[Partition, tuple[int, float]] = {}
        self._checked = float("-inf")

    def due(self, now: float) -> bool:
        """Whether it is time to ask the broker for its end offsets again."""
        return now - self._checked >= self._patience / 4

    def stalled(self, positions: Mapping[Partition, int], ends: Mapping[Partition, int], now: float) -> list[Partition]:
        """Partitions whose position has not moved for too long though it lies before the broker's end offset."""
        if now - self._checked > self._patience:
            self._standing.clear()
        self._checked = now
        for partition in self._standing.keys() - positions.keys():
            del self._standing[partition]
        found = []
        for partition, position in positions.items():
            place, since = self._standing.get(partition, (-1, now))
            if place != position or ends.get(partition, 0) <= position:
                self._standing[partition] = (position, now)
            elif now - since >= self._patience:
                self._standing[partition] = (position, now)
                found.append(partition)
        return found
