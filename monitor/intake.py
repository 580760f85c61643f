"""Takes messages in: decodes them, drops repeats, fills windows, joins labels, puts aside what cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detectors.batch import Batch, Bools, Labels, Window
from detectors.evidence import State
from monitor.decoding.decode import InferenceDecoder
from monitor.decoding.feedback import Feedback, FeedbackDecoder
from monitor.decoding.quarantine import Quarantine
from monitor.decoding.reject import Reject
from monitor.dedup import Deduplicator
from monitor.labels.joins import LabelJoin, Segments
from monitor.labels.scored import FoundEvent
from monitor.sessions import SessionLedger
from monitor.sources.source import Chunk, Partition
from monitor.vetting import VettingDesk
from monitor.watching.metrics import Metrics
from monitor.window import ClosedWindow, WindowBuilder

SESSION_HORIZON = 200_000
"""Sessions of one model version that are remembered to have voted."""


@dataclass(frozen=True, slots=True)
class Channels:
    """What one model needs of the intake: its windows and its labels."""

    windows: WindowBuilder
    labels: LabelJoin


class Intake:
    """Everything between the bytes of a source and a closed window with its labels."""

    def __init__(
        self,
        decoder: InferenceDecoder,
        feedback: FeedbackDecoder,
        repeats: Deduplicator,
        quarantine: Quarantine,
        channels: Mapping[str, Channels],
        desk: VettingDesk,
        metrics: Metrics,
        segments: Segments,
        hash_key: bytes,
    ) -> None:
        self._decoder = decoder
        self._feedback = feedback
        self._repeats = repeats
        self._quarantine = quarantine
        self.channels = channels
        self._desk = desk
        self._metrics = metrics
        self._segments = segments
        self._hash_key = hash_key
        self._sessions: dict[tuple[str, str], SessionLedger] = {}
        self._partitions: list[Partition] = []
        self._rows: dict[tuple[str, str], dict[str, str]] = {}
        self.positions: dict[Partition, int] = {}
        """The next offset of each partition that is being read: all before it has been taken."""
        self.events = 0

    def partition(self, index: int) -> Partition:
        """The partition behind a batch's ``partition`` column."""
        return self._partitions[index]

    def take(self, chunk: Chunk, now: float) -> Iterator[ClosedWindow]:
        """The windows that a chunk closes, one at a time: what comes after a window is taken after it is judged."""
        if chunk.role == "inference":
            batches, rejects = self._decoder.decode(chunk, self._index(chunk.partition))
            for batch in batches:
                yield from self._events(batch, now)
            self._reject(chunk.partition, rejects)
        else:
            self.feedback(chunk)
        if chunk.offsets:
            self.positions[chunk.partition] = chunk.offsets[-1] + 1

    def feedback(self, chunk: Chunk) -> None:
        """Labels, which are joined now or wait for their events."""
        found, rejects = self._feedback.decode(chunk, self._index(chunk.partition))
        for feedback in found:
            self._metrics.claimed_trust(feedback.model, int(feedback.claimed.sum()))
            labels = self.channels[feedback.model].labels
            labels.add(self._without_rows(feedback), self._desk.asked(feedback.model))
            self._metrics.labels_pending(feedback.model, labels.waiting)
        self._reject(chunk.partition, rejects)

    def idle(self, now: float) -> Iterator[ClosedWindow]:
        """Windows to which nothing comes any more, and labels that have no window to be judged with."""
        for model, channels in self.channels.items():
            for closed in channels.windows.closed(now):
                yield self._counted(closed)
            for version in self._ready(model):
                if channels.windows.silent(version, now):
                    yield self.without_events(model, version)

    def labelled(self) -> set[tuple[str, str]]:
        """Models and versions with labels that no window has been judged with yet."""
        return {(model, version) for model in self.channels for version in self._ready(model)}

    def without_events(self, model: str, version: str) -> ClosedWindow:
        """A window of zero events: labels come also when no events flow."""
        return self.channels[model].windows.without_events(model, version)

    def registered(self, model: str, version: str) -> ClosedWindow:
        """A window of zero events: a version was registered, and is looked into before any event of it comes."""
        return self.channels[model].windows.without_events(model, version, "registered")

    def flush(self) -> Iterator[ClosedWindow]:
        """The windows that are open when the input ends."""
        for channels in self.channels.values():
            for closed in channels.windows.flush():
                yield self._counted(closed)
            channels.labels.finish()

    def fresh(self, batch: Batch) -> Bools:
        """Which events belong to sessions that have not voted in an earlier window."""
        key = (batch.model, batch.version)
        if key not in self._sessions:
            self._sessions[key] = SessionLedger(SESSION_HORIZON, self._hash_key)
        return self._sessions[key].fresh(batch)

    def remember(self, window: Window, classes: tuple[str, ...]) -> None:
        """Keep the scored events of a window for labels that come later."""
        if len(window):
            labels = self.channels[window.batch.model].labels
            labels.store(window.batch, classes, window.f, window.g)
            self._metrics.labels_pending(window.batch.model, labels.waiting)

    def labels(self, model: str, version: str) -> Labels | None:
        """Labels that were joined since the last window of this version; answers to requests are settled here."""
        labels = self.channels[model].labels.take(version)
        if labels is not None:
            self._count(model, labels)
            self._metrics.vetting(model, "answered", self._desk.settle(labels.id[labels.vetted].tolist()))
        return labels

    def rows(self, model: str, version: str) -> dict[str, str]:
        """Answers about rows of the version's training buffer since the last window: class names by row id."""
        return self._rows.pop((model, version), {})

    def known_rows(self, model: str, version: str, labels: Mapping[str, str]) -> None:
        """Answers about rows that were given for another version: they count for this one as well."""
        if labels:
            self._rows.setdefault((model, version), {}).update(labels)

    def _ready(self, model: str) -> list[str]:
        """Versions with labels or answers that no window has been judged with yet."""
        return sorted({*self.channels[model].labels.ready(), *(v for m, v in self._rows if m == model)})

    def _without_rows(self, feedback: Feedback) -> Feedback:
        """What is left once the answers about rows of training buffers are taken out."""
        trusted = feedback.take(feedback.trusted)
        said = [*zip(trusted.id.tolist(), trusted.label.tolist(), strict=True)]
        versions = self._desk.rows.answered(feedback.model, said)
        if not versions:
            return feedback
        of_row = feedback.trusted & np.isin(feedback.id, list(versions))
        for ident, label in zip(feedback.id[of_row].tolist(), feedback.label[of_row].tolist(), strict=True):
            self._rows.setdefault((feedback.model, versions[ident]), {})[ident] = label
        self._metrics.vetting(feedback.model, "answered", len(versions))
        events = self._desk.asked(feedback.model)
        return feedback.take(~of_row | np.isin(feedback.id, list(events)))

    def event(self, model: str, version: str, ident: str) -> FoundEvent | None:
        """A scored event, for a request about it; None where it is no longer held."""
        return self.channels[model].labels.event(version, ident)

    def _events(self, batch: Batch, now: float) -> Iterator[ClosedWindow]:
        kept = self._repeats.filter(batch)
        self.events += len(kept.batch)
        self._metrics.events(batch.model, batch.version, len(kept.batch))
        self._metrics.duplicates(batch.model, kept.repeats)
        self._metrics.conflicts(batch.model, kept.conflicts)
        for closed in self.channels[batch.model].windows.add(kept.batch, now):
            yield self._counted(closed)

    def _counted(self, closed: ClosedWindow) -> ClosedWindow:
        self._metrics.late(closed.model, closed.late)
        self._metrics.future(closed.model, closed.future)
        return closed

    def _reject(self, partition: Partition, rejects: Sequence[Reject]) -> None:
        self._quarantine.add(partition, rejects)
        for reason, count in Counter(reject.reason for reject in rejects).items():
            self._metrics.quarantined("-", reason, count)

    def _count(self, model: str, labels: Labels) -> None:
        trusted = int(labels.trusted.sum())
        self._metrics.labels(model, "joined", trusted=True, n=trusted)
        self._metrics.labels(model, "joined", trusted=False, n=len(labels) - trusted)

    def _index(self, partition: Partition) -> int:
        if partition not in self._partitions:
            self._partitions.append(partition)
        return self._partitions.index(partition)

    def state(self) -> State:
        """For the checkpoint: what committed offsets have passed."""
        put = self._segments.put
        return {
            "partitions": [list(p) for p in self._partitions],
            "events": self.events,
            "repeats": self._repeats.state(put),
            "quarantine": self._quarantine.state(),
            "sessions": [[*key, ledger.state(put)] for key, ledger in self._sessions.items()],
            "rows": [[*key, answers] for key, answers in self._rows.items()],
            "windows": {model: c.windows.state() for model, c in self.channels.items()},
            "labels": {model: c.labels.state() for model, c in self.channels.items()},
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave; a model that is no longer configured is forgotten."""
        get = self._segments.get
        self._partitions = [Partition(*p) for p in state["partitions"]]
        self.events = state["events"]
        self._repeats.restore(state["repeats"], get)
        self._quarantine.restore(state["quarantine"])
        for model, version, ledger in state["sessions"]:
            if model not in self.channels:
                continue
            self._sessions[model, version] = SessionLedger(SESSION_HORIZON, self._hash_key)
            self._sessions[model, version].restore(ledger, get)
        self._rows = {(model, version): dict(answers) for model, version, answers in state["rows"]}
        for model, channels in self.channels.items():
            if model in state["windows"]:
                channels.windows.restore(state["windows"][model])
                channels.labels.restore(state["labels"][model])
