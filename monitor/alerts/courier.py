"""Brings the alerts of one sink from the loop's lines to the receiver: choose, put on disk, send, try again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from monitor.alerts.alert import Alert
from monitor.alerts.dead_letters import DeadLetters
from monitor.alerts.outgoing import Choice, Chosen
from monitor.alerts.sink import Sink, SinkPermanentError, SinkRetryableError
from monitor.alerts.spool import Spool
from monitor.watching.alert_metrics import AlertMetrics

log = structlog.get_logger()

BATCH: Final = 50
"""Alerts that are sent at once."""
LOOK_SECONDS: Final = 1.0
"""How often an idle connection is looked after."""
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 60.0
LONGEST_ASKED_SECONDS: Final = 600.0
"""A receiver that asks for more patience is asked again all the same."""
WELL_SECONDS: Final = 10.0
"""A receiver that has been well for so long starts with a short wait again when it fails."""
MOST_UNSETTLED: Final = 1000
"""Alerts at the end of the spool that a crash may have kept from being remembered."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """``wall`` gives seconds since the epoch; ``monotonic`` never goes back."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]


class Courier:
    """One sink's way. `take` never waits for the receiver; `work` makes at most one attempt, if one is due.

    At least once: an alert leaves the spool when the sink knows that it was read; its id is the same each time it is
    sent. ``rng`` spreads the attempts of many watchers over time.
    """

    def __init__(
        self,
        name: str,
        outgoing: Choice,
        spool: Spool,
        dead: DeadLetters,
        sink: Sink,
        metrics: AlertMetrics,
        clocks: Clocks,
        rng: random.Random,
    ) -> None:
        self._name = name
        self._outgoing = outgoing
        self._spool = spool
        self._dead = dead
        self._sink = sink
        self._metrics = metrics
        self._clocks = clocks
        self._rng = rng
        self._unread = 0  # alerts at the head of the spool that were sent, and may not have been read
        self._failures = 0
        self._due_at = self._looked_at = clocks.monotonic()
        self._well_since: float | None = None
        metrics.known(name)
        outgoing.settled(spool.newest(MOST_UNSETTLED), ())
        self._show()

    def take(self, lines: Sequence[bytes]) -> None:
        """Put what is to be sent of ``lines`` on the disk."""
        self._keep(self._outgoing.choose(lines))

    def work(self) -> None:
        """One attempt to send what waits, where it is time for one."""
        now = self._clocks.monotonic()
        if now < self._due_at:
            return
        if len(self._spool) == self._unread and now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            self._send()
        except SinkRetryableError as error:
            self._unread = 0
            self._settle(error.read, 0)
            self._failed(str(error), error.wait_seconds)
        else:
            self._went_well(now)
        self._show()

    def close(self) -> None:
        """One last attempt. What is not delivered stays on the disk, and is sent by the next process."""
        self._keep(self._outgoing.last_words())
        self._due_at = self._clocks.monotonic()
        self.work()
        try:
            self._sink.close()
        except SinkRetryableError as error:
            log.warning("the last alerts will be sent again", sink=self._name, reason=str(error))
        else:
            self._settle(0, 0)
        if len(self._spool):
            log.warning("alerts wait for the next start", sink=self._name, waiting=len(self._spool))

    def _keep(self, chosen: Chosen) -> None:
        """What of it is not put on disk is counted and said."""
        if chosen.suppressed:
            self._drop("flood", chosen.suppressed)
        for item in chosen.unsendable:
            self._dead.put(item.line, item.reason)
            self._metrics.dropped(self._name, "unreadable")
        kept = self._spooled(chosen)
        self._outgoing.settled(chosen.alerts[:kept], chosen.passed_over)
        self._show()

    def _spooled(self, chosen: Chosen) -> int:
        """How many alerts are on the disk now."""
        wanted = len(chosen.alerts)
        try:
            kept = self._spool.append(chosen.alerts)
        except OSError as error:
            log.warning("the spool cannot be written", sink=self._name, reason=str(error))
            self._drop("spool_failed", wanted)
            return 0
        if kept < wanted:
            self._drop("spool_full", wanted - kept)
        return kept

    def _drop(self, reason: str, n: int) -> None:
        self._metrics.dropped(self._name, reason, n)  # type: ignore[arg-type]  # the callers above name the reasons
        log.warning("alerts are not sent", sink=self._name, reason=reason, alerts=n)

    def _send(self) -> None:
        batch = self._spool.peek(BATCH, self._unread)
        try:
            unread = self._sink.send(batch)
        except SinkPermanentError as error:
            if error.sent is None:
                self._send_singly(len(batch))
            else:
                self._unread += error.sent
                self._refused(batch[error.sent], error)
        else:
            self._settle(len(batch), unread)

    def _send_singly(self, n: int) -> None:
        """One of them is never taken: the others must not wait for it."""
        for _ in range(n):
            one = self._spool.peek(1, self._unread)
            try:
                unread = self._sink.send(one)
            except SinkPermanentError as error:
                self._refused(one[0], error)
                if self._unread:
                    return
            else:
                self._settle(1, unread)

    def _refused(self, alert: Alert, error: SinkPermanentError) -> None:
        """It can leave the spool only after those before it; until they were read it is offered again."""
        if self._unread:
            self._settle(0, self._sink.send(()))
        if self._unread:
            self._due_at = self._clocks.monotonic() + LOOK_SECONDS
        else:
            self._dead.put(alert.body, str(error))
            self._drop("refused", 1)
            self._spool.advance(1)

    def _settle(self, sent: int, unread: int) -> None:
        """``sent`` more alerts are on their way; of all that are, the last ``unread`` may not have been read."""
        read = self._unread + sent - unread
        self._unread = unread
        if read:
            self._spool.advance(read)
            self._metrics.sent(self._name, read, self._clocks.wall())

    def _failed(self, reason: str, asked_for: float) -> None:
        """Wait twice as long as the last time, give or take a quarter; as long as is ``asked_for`` in any case."""
        self._well_since = None
        wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(self._failures, 10))
        wait = max(wait * self._rng.uniform(0.75, 1.25), min(asked_for, LONGEST_ASKED_SECONDS))
        self._failures += 1
        self._due_at = self._clocks.monotonic() + wait
        self._metrics.failed(self._name)
        log.warning(
            "alerts cannot be sent",
            sink=self._name,
            reason=reason,
            waiting=len(self._spool),
            again_in_seconds=round(wait, 1),
        )

    def _went_well(self, now: float) -> None:
        """A receiver that takes alerts and hangs up each time must not be called every second."""
        self._well_since = now if self._well_since is None else self._well_since
        if now - self._well_since >= WELL_SECONDS:
            self._failures = 0

    def _show(self) -> None:
        self._metrics.waiting(self._name, len(self._spool), self._spool.waiting_bytes)
