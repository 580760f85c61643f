"""Joins labels with the events that they are about, however much earlier or later they come."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Batch, Bools, Floats, Labels
from detectors.evidence import State
from monitor.decoding.feedback import Feedback
from monitor.hashes import KeyedHash, RecentHashes
from monitor.labels.labelled import Rescored, Rescorer, labels_of_events, labels_with_features
from monitor.labels.pending import PendingLabels, Waiting
from monitor.labels.scored import FoundEvent, KeyIndex, ScoredEvents
from monitor.state.column_state import columns_from, columns_state
from monitor.state.state_codec import Segment, Segments

__all__ = ["JoinSettings", "LabelJoin", "Rescored", "Rescorer", "Segments"]

_LOADED: Final = 16
"""Blocks that are held in memory although they can be loaded."""


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """``horizon_windows``: how many closed windows of the model can still be labelled.

    Labels whose event is not there wait for ``pending_windows`` closed windows, at most ``pending_labels`` of them.
    A statement (id, label, origin) is recognised again among the last ``statements``.
    """

    horizon_windows: int = 1000
    pending_windows: int = 20
    pending_labels: int = 10_000
    statements: int = 65_536

    def __post_init__(self) -> None:
        for name in ("horizon_windows", "pending_windows", "pending_labels", "statements"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class LabelJoin:
    """The scored events of one model and the labels that wait for theirs.

    An id that several versions scored is labelled in each of them. Where one version has an id more than once, the
    label goes to the one stored first, so that who repeats an id cannot take its label; ``counts["ambiguous"]``.

    ``counts``: joined, repeats (the same origin said the same again), ambiguous, unknown_class, without_event (expired:
    no such event came), unattributed (expired, but named no model: another may have had the event), given_up (too many
    waited), rescored (expired with features of their own: scored by ``rescore`` and used), untaken (ready, but too many
    came and nobody took them).
    """

    def __init__(
        self, settings: JoinSettings, segments: Segments, hash_key: bytes, rescore: Rescorer | None = None
    ) -> None:
        self._hash = KeyedHash(hash_key)
        self._settings = settings
        self._segments = segments
        self._rescore = rescore
        self._blocks: list[_Block] = []
        self._loaded: OrderedDict[Segment, ScoredEvents] = OrderedDict()
        self._pending = PendingLabels(settings.pending_labels)
        self._said = RecentHashes(settings.statements)
        self._ready: dict[str, list[Labels]] = {}
        self._stored = 0
        self.counts: Counter[str] = Counter()

    def store(self, batch: Batch, classes: Sequence[str], f: Floats, g: Floats | None) -> None:
        """Keep a closed window's events with their scores[n,k]; labels that waited for one of them become ready."""
        block = _Block(ScoredEvents.of(batch, classes, f, g))
        self._blocks.append(block)
        del self._blocks[: -self._settings.horizon_windows]
        self._stored += 1
        for waiting in self._pending.parts():
            joined = self._match(waiting, [block])
            expired = ~joined & (waiting.until <= self._stored)
            self._pending.keep(waiting, ~joined & ~expired)
            self._expire(waiting.take(expired))

    def add(self, feedback: Feedback, asked: Collection[str] = frozenset()) -> None:
        """Join labels with stored events, or let them wait. ``asked``: ids of open vetting requests.

        A trusted label of an asked id is `vetted`.
        """
        new = self._said.add(feedback.digest)
        self.counts["repeats"] += int((~new).sum())
        feedback = feedback.take(new)
        vetted = feedback.trusted & np.array([i in asked for i in feedback.id.tolist()], dtype=np.bool_)
        until = np.full(len(feedback), self._stored + self._settings.pending_windows, dtype=np.int64)
        waiting = Waiting(feedback, vetted, until)
        joined = self._match(waiting, self._blocks)
        self.counts["given_up"] += self._pending.add(waiting.take(~joined))

    def take(self, version: str) -> Labels | None:
        """The labels of one version that became ready since the last call, in the order of ts, id and origin."""
        parts = self._ready.pop(version, None)
        if not parts:
            return None
        labels = Labels.concat(parts)
        return labels.take(np.lexsort((labels.name, labels.origin, labels.id, labels.ts)))

    def ready(self) -> list[str]:
        """The versions that have labels to `take`."""
        return sorted(self._ready)

    def event(self, version: str, ident: str) -> FoundEvent | None:
        """The event that a label of this id would be joined with; None where it is not held (any more)."""
        key = self._hash.texts([ident])
        for block in self._blocks:
            there, rows, _ = block.index.find(key)
            if there[0]:
                events = self._events(block)
                if events.version == version and events.id.take(rows)[0] == ident:
                    return events.one(int(rows[0]))
        return None

    def finish(self) -> None:
        """The input has ended: what waits is given up, or used where it carries features."""
        for waiting in self._pending.parts():
            self._pending.keep(waiting, np.zeros(len(waiting), dtype=np.bool_))
            self._expire(waiting)

    @property
    def waiting(self) -> int:
        """Labels whose event has not come."""
        return len(self._pending)

    def state(self) -> State:
        """For the checkpoint. Blocks that are new since the last call are put as segments."""
        for block in self._blocks:
            if block.events is not None:
                block.segment = self._segments.put(block.events.state())
                self._hold(block.segment, block.events)
                block.events = None
        return {
            "blocks": [block.segment for block in self._blocks],
            "stored": self._stored,
            "pending": self._pending.state(),
            "said": self._said.state(self._segments.put),
            "ready": [[version, columns_state(part)] for version, parts in self._ready.items() for part in parts],
            "counts": dict(self.counts),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._blocks = [_Block.loaded(s, ScoredEvents.from_state(self._segments.get(s))) for s in state["blocks"]]
        self._stored = state["stored"]
        self._pending.restore(state["pending"])
        self._said.restore(state["said"], self._segments.get)
        self._ready = {}
        for version, part in state["ready"]:
            self._ready.setdefault(version, []).append(columns_from(Labels, part))
        self.counts = Counter(state["counts"])

    def _match(self, waiting: Waiting, blocks: Sequence[_Block]) -> Bools:
        """Which labels were joined with an event of these blocks; the oldest block of a version wins."""
        taken: dict[str, Bools] = {}
        key = waiting.feedback.key
        for block in blocks if len(waiting) else ():
            there, rows, repeated = block.index.find(key)
            if not there.any():
                continue
            events = self._events(block)
            found = np.flatnonzero(there)
            # the key is only a hash of the id
            found = found[events.id.take(rows[found]) == waiting.feedback.id[found]]
            before = taken.setdefault(events.version, np.zeros(len(waiting), dtype=np.bool_))
            self.counts["ambiguous"] += int((before[found] | repeated[found]).sum())
            found = found[~before[found]]
            before[found] = True
            if len(found):
                self._make_ready(events.version, labels_of_events(waiting, found, events, rows[found]))
        joined = np.zeros(len(waiting), dtype=np.bool_)
        for rows_taken in taken.values():
            joined |= rows_taken
        return joined

    def _make_ready(self, version: str, labels: Labels) -> None:
        self.counts["joined"] += len(labels)
        self.counts["unknown_class"] += int((labels.label < 0).sum())
        parts = self._ready.setdefault(version, [])
        parts.append(labels)
        while sum(map(len, parts)) > self._settings.pending_labels and len(parts) > 1:
            # nobody takes the labels of a version that no longer serves
            self.counts["untaken"] += len(parts.pop(0))

    def _expire(self, waiting: Waiting) -> None:
        usable = waiting.feedback.carries & (self._rescore is not None)
        lost = waiting.feedback.named[~usable]
        self.counts["without_event"] += int(lost.sum())
        self.counts["unattributed"] += int((~lost).sum())
        if usable.any() and self._rescore is not None:
            carried = waiting.take(usable)
            self.counts["rescored"] += len(carried)
            scored = self._rescore(carried.feedback.x)
            self._make_ready(scored.version, labels_with_features(carried, scored))

    def _events(self, block: _Block) -> ScoredEvents:
        if block.events is not None:
            return block.events
        segment = block.segment
        events = self._loaded.get(segment) or ScoredEvents.from_state(self._segments.get(segment))
        self._hold(segment, events)
        return events

    def _hold(self, segment: Segment, events: ScoredEvents) -> None:
        self._loaded[segment] = events
        self._loaded.move_to_end(segment)
        while len(self._loaded) > _LOADED:
            self._loaded.popitem(last=False)


class _Block:
    """A closed window: in memory until it is put as a segment, then only its index."""

    def __init__(self, events: ScoredEvents) -> None:
        self.index = KeyIndex(events.key)
        self.events: ScoredEvents | None = events
        self.segment = Segment("")

    @classmethod
    def loaded(cls, segment: Segment, events: ScoredEvents) -> _Block:
        block = cls(events)
        block.segment, block.events = segment, None
        return block
