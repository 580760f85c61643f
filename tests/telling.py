"""What a teller writes to and asks, in memory, and a loop around it that can be killed at any moment."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from session_stream import schema
from theatre import Theatre

from monitor.decoding.reader import Served
from monitor.incidents.book import IncidentBook
from monitor.labels.scored import FoundEvent
from monitor.loop import Loop, LoopSettings, News, Parts
from monitor.oracle import Elsewhere
from monitor.sources.memory import MemoryLog, MemorySource
from monitor.sources.source import Partition
from monitor.state.checkpoint import CheckpointStore
from monitor.state.settlement import Checkpoints, Stateful
from monitor.teller import Outlets, Teller
from monitor.vetting import VettingDesk, VettingSettings
from monitor.watch import Judged
from monitor.watching.metrics import Metrics
from monitor.window import ClosedWindow
from rollback.registry.registry import Pointers


class Lines:
    """An outlet in memory."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def append(self, line: bytes) -> None:
        self.lines.append(line)

    def flush(self) -> None:
        """Nothing is held back."""


class Surroundings:
    """What a teller asks of intake and watch."""

    def event(self, model: str, version: str, ident: str) -> FoundEvent:  # noqa: ARG002 - every event is held
        return FoundEvent(np.zeros(len(schema().features)), np.array([0.5, 0.5]), "")

    def known_rows(self, model: str, version: str, labels: Mapping[str, str]) -> None:
        """No row is asked about."""

    def partition(self, index: int) -> tuple[str, int]:
        return ("events", index)

    def pointers(self) -> Pointers:
        return Pointers("2", "1", assumed=False)

    def served(self, version: str) -> Served:  # noqa: ARG002 - all are read alike
        return Served(schema(), simplex=True)

    def first_poisoned(self, judged: Judged) -> str | None:
        """Nobody says since when."""


class Silence:
    """An intake to which nothing comes."""

    def __init__(self) -> None:
        self.positions: dict[Partition, int] = {}

    def idle(self, now: float) -> Iterator[ClosedWindow]:  # noqa: ARG002 - no window is open
        return iter(())


class Process:
    """A daemon's loop around a theatre's responder; what outlives it are the log's commits and the checkpoints."""

    def __init__(self, theatre: Theatre, log: MemoryLog) -> None:
        self._theatre = theatre
        self.book = IncidentBook()
        self._incidents = Lines()
        around: Any = Surroundings()
        silence: Any = Silence()
        outlets = Outlets(Lines(), self._incidents, Lines())
        desk = VettingDesk({"nids": VettingSettings()})
        metrics = Metrics(CollectorRegistry(), "test", lambda: 0.0)
        teller = Teller(self.book, desk, theatre.responder, outlets, metrics, around)
        self._store = CheckpointStore(theatre.folder / "checkpoints")
        kept: dict[str, Stateful] = {"response": theatre.responder, "teller": teller}
        saved = Checkpoints(self._store, kept, {}, lambda: None)
        self.news: deque[News] = deque()
        parts = Parts(
            lambda listener: MemorySource(log, listener),
            silence,
            {},
            teller,
            saved,
            Elsewhere(),
            lambda: theatre.now,
            self.news,
        )
        self.loop = Loop(parts, LoopSettings(poll_seconds=0.0, settle_seconds=1e9))

    def run(self, turns: int = 40) -> None:
        """Turn so often."""
        for _ in range(turns):
            self._theatre.now += 1.0
            self.loop.turn()
            self._theatre.train()

    def kill(self) -> None:
        """End without settling."""
        self._store.close()

    @property
    def told(self) -> list[dict[str, Any]]:
        """The incidents that were published by this process."""
        return [json.loads(line) for line in self._incidents.lines]
