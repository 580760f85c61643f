"""The way of an event, in one screen: respond, poll, take, judge, tell, settle."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from monitor.inbox import Hunted
from monitor.incidents.dismissals import Dismissal
from monitor.intake import Intake
from monitor.labels.keeping import Keeping, NotKept
from monitor.new_version import Prepared
from monitor.oracle import Answering
from monitor.sources.source import Chunk, Committed, Listener, Partition, Source
from monitor.state.settlement import Settlement
from monitor.teller import Teller
from monitor.watch import Watch
from monitor.watching.stages import NOBODY, NoStages, Stages
from monitor.window import ClosedWindow

News: TypeAlias = Prepared | Hunted | Dismissal


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How much a turn takes at most, how long it waits for it, and how often (in seconds) it settles."""

    max_messages: int = 2000
    poll_seconds: float = 0.5
    settle_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a loop is made of.

    ``connect`` makes the source that the loop listens to. ``answering`` answers vetting requests in a replay. ``clock``
    gives seconds since the epoch: it decides what is idle, what is from the future and when to settle, nothing else.
    ``news`` is what came from beside the loop, which takes it from there: new versions, results of hunts, and orders to
    close an incident.
    ``keeping`` gets labels that were joined with their events. ``stages`` is told of a turn that something came in for
    (`turn`), of each window in it (`judge`, with `score`, `detect` and `tell`), and of checkpoints (`settle`).
    """

    connect: Callable[[Listener], Source]
    intake: Intake
    watches: Mapping[str, Watch]
    teller: Teller
    settlement: Settlement
    answering: Answering
    clock: Callable[[], float]
    news: deque[News] = field(default_factory=deque)
    keeping: Keeping = field(default_factory=NotKept)
    stages: Stages = field(default_factory=NoStages)


class Loop:
    """Turns until the source is finished or nobody calls `turn` any more. One thread."""

    def __init__(self, parts: Parts, settings: LoopSettings) -> None:
        self._parts = parts
        self._source = parts.connect(self)
        self._settings = settings
        self._settled_at = parts.clock()
        self._unsettled = False
        self._uncommitted: tuple[Mapping[Partition, int], str] | None = None
        self._resumed = False
        self._lost: set[Partition] = set()

    @property
    def finished(self) -> bool:
        """Whether the source has nothing more to give, ever."""
        return self._source.finished

    @property
    def partitions(self) -> frozenset[Partition]:
        """What is being read."""
        return frozenset(self._parts.intake.positions)

    def turn(self) -> bool:
        """Respond, poll, take, judge, and settle when it is time; whether anything came in.

        Raises `RetryableSourceError` where the source is away: turn again. After any other exception a window may be
        half judged: what is in memory must not be settled any more, the last checkpoint is where to go on.
        """
        now = self._parts.clock()
        # not before the checkpoint is back: news would be told to an empty book, acts done on an unchecked audit log
        if self._resumed:
            self._unsettled |= self._parts.teller.respond()  # first: it goes on while the source is away
            self._take_news()
        chunks = self._source.poll(self._settings.max_messages, self._settings.poll_seconds)
        with self._parts.stages.stage("turn", chunks=len(chunks)) if chunks else NOBODY:
            for closed in self._take(chunks, now):
                self._judge(closed)
        if now - self._settled_at >= self._settings.settle_seconds:
            self.settle()
        return bool(chunks)

    def finish(self) -> None:
        """Nothing comes any more: judge what is half full, then the labels and answers that are left, and settle."""
        intake = self._parts.intake
        for closed in intake.flush():
            self._judge(closed)
        while outstanding := intake.labelled() | self._parts.answering.outstanding():
            for model, version in sorted(outstanding):
                self._judge(intake.without_events(model, version))
        self.settle()

    def settle(self) -> None:
        """Outputs, checkpoint, broker commit, in this order; nothing where nothing has happened.

        While the broker does not take a commit, no newer checkpoint is made: only the last two are kept, and what the
        broker names must be among them. Raises `RetryableSourceError`.
        """
        self._settled_at = self._parts.clock()
        self._commit()
        offsets = dict(self._parts.intake.positions)
        if self._unsettled and offsets:
            with self._parts.stages.stage("settle"):
                self._parts.keeping.flush()
                self._uncommitted = (offsets, self._parts.settlement.save(offsets))
                self._unsettled = False
                self._commit()

    def close(self) -> None:
        """Leave, without settling."""
        self._source.close()

    def _commit(self) -> None:
        """A checkpoint that the broker has not been told of; of partitions that are no longer ours nothing is said."""
        if self._uncommitted is not None:
            offsets, name = self._uncommitted
            if ours := {p: offset for p, offset in offsets.items() if p in self.partitions}:
                self._source.commit(ours, name)
            self._uncommitted = None

    def _take(self, chunks: Sequence[Chunk], now: float) -> Iterator[ClosedWindow]:
        for chunk in chunks:
            self._unsettled = True
            yield from self._parts.intake.take(chunk, now)
        yield from self._parts.intake.idle(now)

    def _take_news(self) -> None:
        """A version is judged when it is registered, as with a window of zero events; once, also over restarts."""
        while self._parts.news:
            new = self._parts.news.popleft()
            if isinstance(new, Hunted):
                self._unsettled |= self._parts.teller.hunted(new.incident, new.summary)
            elif isinstance(new, Dismissal):
                self._unsettled |= self._parts.teller.dismissed(new)
            elif self._parts.watches[new.model].adopt(new):
                self._judge(self._parts.intake.registered(new.model, new.version), new.at)

    def _judge(self, closed: ClosedWindow, at: float = 0.0) -> None:
        """Score, detect, conclude, tell: all that happens to a window, before the next one is looked at.

        ``at``: when it came to be, in event time, where it has no events that say so.
        """
        self._unsettled = True
        judging = self._parts.stages.stage(
            "judge", model=closed.model, version=closed.version, window=closed.index, events=len(closed.batch)
        )
        with judging:
            self._judge_window(closed, at)

    def _judge_window(self, closed: ClosedWindow, at: float) -> None:
        intake, watch, stage = self._parts.intake, self._parts.watches[closed.model], self._parts.stages.stage
        with stage("score"):
            window = watch.window(closed, intake.fresh(closed.batch))
        if watch.reads(closed):
            intake.remember(window, watch.versions(closed.version).schema.classes)
        for answers in self._parts.answering.due(closed):
            intake.feedback(answers)
        watch.vetted(closed.version, intake.rows(closed.model, closed.version))
        labels = intake.labels(closed.model, closed.version)
        if labels is not None:
            self._parts.keeping.labels(closed.model, watch.versions(closed.version).schema, labels)
        with stage("detect"):
            judged = watch.judge(window, labels)
        with stage("tell"):
            self._parts.teller.tell(closed, judged, watch, at)

    def on_assigned(self, partitions: Mapping[Partition, Committed | None]) -> Mapping[Partition, int]:
        """At the start, resume from the checkpoint that the broker's commits name.

        Later, go on where we are in partitions that nobody else has committed since (they were lost for a moment, or
        the broker did not take our first commit); in others where the broker says.
        """
        settlement, positions = self._parts.settlement, self._parts.intake.positions
        if not self._resumed:
            starts = settlement.resume(partitions)
            self._resumed = True
            return starts
        for gone in self._lost - partitions.keys():
            positions.pop(gone, None)
        self._lost.clear()
        return {
            p: positions[p]
            for p, found in partitions.items()
            if p in positions and (found is None or settlement.holds(found.metadata))
        }

    def on_positioned(self, offsets: Mapping[Partition, int]) -> None:
        """Reading starts here. That is committed before anything is read, so that a crash finds its way back."""
        self._parts.intake.positions.update(offsets)
        self._unsettled = True
        self.settle()

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        """Save what is done: the partitions' next owner starts from there."""
        if partitions:
            self.settle()
        for partition in partitions:
            self._parts.intake.positions.pop(partition, None)

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        """Nothing can be committed any more, until they come again or others come instead."""
        self._lost.update(partitions)
