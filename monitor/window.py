"""Cuts the stream of each model version into windows: by count, by event-time age, or when nothing comes any more.

Where a window ends depends on the order of events alone, never on how they were chunked; only idleness asks the clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from detectors.batch import Batch, Bools, Ints
from detectors.evidence import State
from monitor.state.column_state import columns_from, columns_state

Closing: TypeAlias = Literal["count", "age", "idle", "flush", "labels", "registered"]
Ranges: TypeAlias = Mapping[int, Sequence[tuple[int, int]]]
"""Partition index -> the half-open offset ranges [first, last + 1) that hold exactly the rows."""

_NEVER: Final = -np.inf


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """When a window closes. Times in seconds; ``future_tolerance`` is how far clocks of producers may be ahead."""

    window_events: int = 1000
    window_max_seconds: float = 3600.0
    idle_seconds: float = 60.0
    future_tolerance: float = 300.0

    def __post_init__(self) -> None:
        if self.window_events < 1:
            raise ValueError(f"window_events must be at least 1, got {self.window_events}")
        for name in ("window_max_seconds", "idle_seconds", "future_tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """The ``index``-th window of a model version: ``batch`` is sorted by ts, partition and offset.

    ``late`` events are older than the end of the window before; ``future`` events were ahead of the clock.
    """

    model: str
    version: str
    index: int
    batch: Batch
    ranges: Ranges
    reason: Closing
    late: int
    future: int


class WindowBuilder:
    """The open windows of one model: one for each version that has events.

    The watermark of a version is the latest ``ts`` seen, without events from the future, so that a wrong clock cannot
    close windows. Age counts from the first event of a window that is neither late nor from the future.
    """

    def __init__(self, settings: WindowSettings) -> None:
        self._settings = settings
        self._open: dict[str, _OpenWindow] = {}

    def add(self, batch: Batch, now: float) -> list[ClosedWindow]:
        """The windows that these events close, in order. ``now``: seconds since the epoch."""
        window = self._open.setdefault(batch.version, _OpenWindow())
        # a version that was registered meanwhile may have other columns: they cannot stand in one window
        ended = [window.close("age")] if window.rows and window.width != batch.x.shape[1] else []
        return [*ended, *window.add(batch, now, self._settings)]

    def closed(self, now: float) -> list[ClosedWindow]:
        """Close the windows to which nothing has come for ``idle_seconds``."""
        limit = self._settings.idle_seconds
        return [
            window.close("idle")
            for _, window in sorted(self._open.items())
            if window.rows and window.fed_before(now) >= limit
        ]

    def flush(self) -> list[ClosedWindow]:
        """Close every window that has events: the input has ended."""
        return [window.close("flush") for _, window in sorted(self._open.items()) if window.rows]

    def silent(self, version: str, now: float) -> bool:
        """Whether the version has no open window, and nothing has come for ``idle_seconds``."""
        window = self._open.get(version)
        return window is None or (not window.rows and window.fed_before(now) >= self._settings.idle_seconds)

    def without_events(self, model: str, version: str, reason: Closing = "labels") -> ClosedWindow:
        """A window of zero events with the next index, for labels that come while no events do, or a new version.

        Its columns are as wide as those of the version's events; without any so far they have no width. The version
        is `silent` again only after another ``idle_seconds``.
        """
        return self._open.setdefault(version, _OpenWindow()).empty(model, version, reason)

    def state(self) -> State:
        """For the checkpoint: committed offsets pass half-filled windows."""
        return {"open": {version: window.state() for version, window in self._open.items()}}

    def restore(self, state: State) -> None:
        """Take back what `state` gave. Idle time counts anew: while nobody listened, nothing could come."""
        self._open = {version: _OpenWindow.restored(window) for version, window in state["open"].items()}


class _OpenWindow:
    """One version's window, which starts anew with the next index when it is closed."""

    def __init__(self) -> None:
        self.rows = 0
        self._parts: list[Batch] = []
        self._blank: Batch | None = None
        self._index = 0
        self._start = np.nan
        self._watermark = _NEVER
        self._closed_end = _NEVER
        self._late = 0
        self._future = 0
        self._fed_at: float | None = None

    @property
    def width(self) -> int:
        """Features of the events that it holds."""
        return int(self._parts[0].x.shape[1])

    def add(self, batch: Batch, now: float, settings: WindowSettings) -> Iterator[ClosedWindow]:
        if len(batch):
            self._fed_at = now
        future = batch.ts > now + settings.future_tolerance
        first = 0
        while first < len(batch):
            late = ~future & (batch.ts < self._closed_end)
            rows, closing = self._cut(batch, ~future & ~late, first, settings)
            self._take(batch, slice(first, first + rows), late, future)
            first += rows
            if closing:
                yield self.close(closing)

    def _cut(
        self, batch: Batch, on_time: Bools, first: int, settings: WindowSettings
    ) -> tuple[int, Literal["count", "age"] | None]:
        """How many rows from ``first`` belong to this window, and what closes it after them."""
        left = len(batch) - first
        room = max(0, settings.window_events - self.rows)  # a smaller window may have been configured meanwhile
        ts, counted = batch.ts[first : first + room], on_time[first : first + room]
        if np.isnan(self._start) and counted.any():
            self._start = float(ts[np.argmax(counted)])
        aged = counted & (ts - self._start >= settings.window_max_seconds)
        if aged.any():
            return int(np.argmax(aged)), "age"
        return (room, "count") if left >= room else (left, None)

    def _take(self, batch: Batch, rows: slice, late: Bools, future: Bools) -> None:
        part = batch.take(rows)
        if not len(part):
            return
        self._parts.append(part)
        self.rows += len(part)
        self._late += int(late[rows].sum())
        self._future += int(future[rows].sum())
        believed = part.ts[~future[rows]]
        self._watermark = max(self._watermark, float(believed.max(initial=_NEVER)))

    def fed_before(self, now: float) -> float:
        """Seconds since the last event."""
        if self._fed_at is None:
            self._fed_at = now
        return now - self._fed_at

    def empty(self, model: str, version: str, reason: Closing) -> ClosedWindow:
        self._fed_at = None  # idle time counts anew
        blank = self._blank if self._blank is not None else _blank(model, version)
        self._index += 1
        return ClosedWindow(model, version, self._index - 1, blank, {}, reason, 0, 0)

    def close(self, closing: Closing) -> ClosedWindow:
        batch = Batch.concat(self._parts)
        self._blank = batch.take(slice(0, 0))
        batch = batch.take(np.lexsort((batch.offset, batch.partition, batch.ts)))
        closed = ClosedWindow(
            batch.model, batch.version, self._index, batch, _ranges(batch), closing, self._late, self._future
        )
        self._closed_end = self._watermark
        self._index += 1
        self._parts, self.rows, self._late, self._future, self._start = [], 0, 0, 0, np.nan
        return closed

    def state(self) -> State:
        self._parts = [Batch.concat(self._parts)] if self._parts else []
        return {
            "index": self._index,
            "start": float(self._start),
            "watermark": float(self._watermark),
            "closed_end": float(self._closed_end),
            "late": self._late,
            "future": self._future,
            "blank": columns_state(self._blank) if self._blank is not None else None,
            "rows": columns_state(self._parts[0]) if self._parts else None,
        }

    @classmethod
    def restored(cls, state: State) -> _OpenWindow:
        window = cls()
        window._index = state["index"]
        window._start, window._watermark = state["start"], state["watermark"]
        window._closed_end = state["closed_end"]
        window._late, window._future = state["late"], state["future"]
        if state["blank"] is not None:
            window._blank = columns_from(Batch, state["blank"])
        if state["rows"] is not None:
            window._parts = [columns_from(Batch, state["rows"])]
            window.rows = len(window._parts[0])
        return window


def _blank(model: str, version: str) -> Batch:
    text, number = np.zeros(0, dtype=np.str_), np.zeros(0, dtype=np.int64)
    matrix, key = np.zeros((0, 0)), np.zeros(0, dtype=np.uint64)
    return Batch(
        model=model,
        version=version,
        ts=np.zeros(0),
        id=text,
        source=text,
        session=text,
        ref=text,
        x=matrix,
        scores=matrix,
        partition=number,
        offset=number,
        key=key,
        digest=key,
    )


def _ranges(batch: Batch) -> dict[int, tuple[tuple[int, int], ...]]:
    found = {}
    for partition in np.unique(batch.partition).tolist():
        offsets = np.unique(batch.offset[batch.partition == partition])
        found[partition] = tuple(_runs(offsets))
    return found


def _runs(offsets: Ints) -> Iterator[tuple[int, int]]:
    """Runs of consecutive numbers as half-open ranges.

    >>> list(_runs(np.array([3, 4, 5, 9])))
    [(3, 6), (9, 10)]
    """
    breaks = np.flatnonzero(np.diff(offsets) != 1) + 1
    for run in np.split(offsets, breaks):
        yield int(run[0]), int(run[-1]) + 1
