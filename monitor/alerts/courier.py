"""Brings the alerts of one sink from the loop's lines to the receiver: choose, put on disk, send, try again."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from monitor.alerts.alert import Alert
from monitor.alerts.breaker import Breaker
from monitor.alerts.dead_letters import DeadLetters
from monitor.alerts.losses import Losses
from monitor.alerts.outgoing import Choice, Chosen, Unsendable
from monitor.alerts.sink import Sink, SinkPermanentError, SinkRetryableError
from monitor.alerts.spool import Spool
from monitor.watching.alert_metrics import AlertMetrics, DropReason

log = structlog.get_logger()

BATCH: Final = 50
"""Alerts that are sent at once."""
LOOK_SECONDS: Final = 1.0
"""How often an idle connection is looked after."""
MOST_UNSETTLED: Final = 1000
"""Alerts at the end of the spool that a crash may have kept from being remembered."""
ROOM_AGAIN: Final = 0.9
"""The receiver is told of what was dropped once the spool is filled to no more than that ..."""
TELL_SECONDS: Final = 600.0
"""... or so long after it was told the last time."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """``wall`` gives seconds since the epoch; ``monotonic`` never goes back."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]


class Courier:
    """One sink's way. `take` never waits for the receiver; `work` makes at most one attempt, if one is due.

    Each of the two may have a thread of its own: the spool is locked, but never while the receiver is waited for. At
    least once: an alert leaves the spool when the sink knows that it was read; its id is the same each time it is sent.
    """

    def __init__(
        self,
        name: str,
        outgoing: Choice,
        spool: Spool,
        dead: DeadLetters,
        losses: Losses,
        sink: Sink,
        metrics: AlertMetrics,
        clocks: Clocks,
        rng: random.Random,
    ) -> None:
        self._name = name
        self._outgoing = outgoing
        self._spool = spool
        self._dead = dead
        self._losses = losses
        self._sink = sink
        self._metrics = metrics
        self._clocks = clocks
        self._lock = threading.RLock()  # of the spool, and of what goes into it
        self._unread = 0  # alerts at the head of the spool that were sent, and may not have been read
        now = clocks.monotonic()
        self._breaker = Breaker(rng, now)
        self._looked_at = now
        self._told_at = now
        metrics.known(name)
        outgoing.settled(spool.newest(MOST_UNSETTLED), ())
        self._count_spoilt()
        self._show()

    def take(self, lines: Sequence[bytes]) -> None:
        """Put what is to be sent of ``lines`` on the disk."""
        with self._lock:
            try:
                chosen = self._outgoing.choose(lines)
            except Exception:
                log.exception("lines are looked at one by one: together they could not be", sink=self._name)
                self._take_singly(lines)
            else:
                self._keep(chosen)

    def overflowed(self, n: int) -> None:
        """So many lines found no room on their way here; they are counted already."""
        with self._lock:
            self._losses.add("queue_full", n, self._clocks.wall())

    def last_words(self) -> None:
        """Nothing more is taken: put on the disk what was held back."""
        with self._lock:
            self._keep(self._outgoing.last_words())

    def work(self) -> bool:
        """One attempt to send what waits, where it is time for one; whether there is more to send at once."""
        now = self._clocks.monotonic()
        if not self._breaker.admits(now):
            return False
        if self._idle() and now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        try:
            self._send()
        except SinkRetryableError as error:
            self._unread = 0
            self._settle(error.read, 0)
            self._failed(error)
            return False
        else:
            self._answered(now)
        finally:
            self._show()
        return not self._idle()

    def close(self) -> None:
        """One last attempt. What is not delivered stays on the disk, and is sent by the next process."""
        self.last_words()
        self._breaker.hurry(self._clocks.monotonic())
        self.work()
        try:
            self._sink.close()
        except SinkRetryableError as error:
            self._unread = 0
            self._settle(error.read, 0)
            log.warning("the last alerts will be sent again", sink=self._name, reason=str(error))
        else:
            self._settle(0, 0)
        if len(self._spool):
            log.warning("alerts wait for the next start", sink=self._name, waiting=len(self._spool))

    def _take_singly(self, lines: Sequence[bytes]) -> None:
        """Nothing can be made of one of them: the others must not be lost with it."""
        for line in lines:
            self._outgoing.settled((), ())  # what was decided before the failure does not count
            try:
                chosen = self._outgoing.choose([line])
            except Exception as error:
                log.exception("no alert can be made of a line", sink=self._name)
                chosen = Chosen(unsendable=[Unsendable(line, f"{type(error).__name__}: {error}")])
            self._keep(chosen)

    def _idle(self) -> bool:
        return len(self._spool) == self._unread

    def _keep(self, chosen: Chosen) -> None:
        """What of it is not put on disk is counted and said."""
        if chosen.suppressed:
            self._drop("flood", chosen.suppressed)
        if chosen.muted:
            self._drop("muted", chosen.muted)
        self._metrics.folded(self._name, chosen.folded)
        for item in chosen.unsendable:
            self._metrics.dropped(self._name, "unreadable")
            if not self._dead.put_line(item.line, item.reason):
                self._losses.add("unreadable", 1, self._clocks.wall())
        if chosen.alerts and self._losses:
            self._tell_losses()
        kept = self._spooled(chosen)
        self._outgoing.settled(kept, chosen.passed_over)
        self._show()

    def _tell_losses(self) -> None:
        """The next alert says what was dropped before it, as soon as there is room again."""
        now = self._clocks.monotonic()
        if self._spool.filled > ROOM_AGAIN and now - self._told_at < TELL_SECONDS:
            return
        notice = self._losses.notice(self._name, self._clocks.wall())
        try:
            alerts = self._outgoing.notice(notice)
            told = self._spool.append(alerts) == alerts
        except OSError as error:
            log.warning("the spool cannot be written", sink=self._name, reason=str(error))
            return
        if told:
            self._losses.told()
            self._told_at = now

    def _spooled(self, chosen: Chosen) -> list[Alert]:
        """The alerts that are on the disk now."""
        try:
            kept = self._spool.append(chosen.alerts)
        except OSError as error:
            log.warning("the spool cannot be written", sink=self._name, reason=str(error))
            self._lose("spool_failed", len(chosen.alerts))
            return []
        if lost := len(chosen.alerts) - len(kept):
            self._lose("spool_full", lost)
        return kept

    def _lose(self, reason: DropReason, n: int) -> None:
        self._drop(reason, n)
        self._losses.add(reason, n, self._clocks.wall())

    def _drop(self, reason: DropReason, n: int) -> None:
        self._metrics.dropped(self._name, reason, n)
        log.warning("alerts are not sent", sink=self._name, reason=reason, alerts=n)

    def _send(self) -> None:
        batch = self._peek(1 if self._breaker.probing else BATCH)
        try:
            unread = self._sink.send(batch)
        except SinkPermanentError as error:
            if error.sent is None:
                self._send_singly(len(batch))
            else:
                self._unread += error.sent
                self._refused(batch[error.sent], error)
        except SinkRetryableError:
            raise
        except Exception as error:
            log.exception("a sender failed in a way that nobody thought of", sink=self._name)
            if not (self._breaker.probing and self._passed_by()):
                raise SinkRetryableError(f"the sender failed: {type(error).__name__}") from error
        else:
            self._settle(len(batch), unread)

    def _passed_by(self) -> bool:
        """Whether one of those behind the oldest goes through. Then it is the fault of those before, not the sender's.

        They become dead letters. Nothing is sent and unread while the receiver is only probed.
        """
        waiting = self._peek(BATCH)
        for i, alert in enumerate(waiting[1:], 1):
            try:
                unread = self._sink.send([alert])
            except SinkRetryableError:
                return False
            except Exception as error:  # noqa: BLE001 - the next one tells whose fault it is
                log.warning("nor does the sender get on with the next alert", sink=self._name, reason=str(error))
                continue
            for poison in waiting[:i]:
                self._bury(poison, "the sender fails with it, and not with others: the log says how")
            self._settle(1, unread)
            return True
        return False

    def _send_singly(self, n: int) -> None:
        """One of them is never taken: the others must not wait for it."""
        for _ in range(n):
            if not (one := self._peek(1)):
                return
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
            self._breaker.pause(self._clocks.monotonic() + LOOK_SECONDS)
        else:
            self._bury(alert, str(error))

    def _bury(self, alert: Alert, reason: str) -> None:
        """The oldest is given up."""
        with self._lock:
            if self._dead.put(alert, reason):
                self._drop("refused", 1)
            else:
                self._lose("refused", 1)
            self._spool.advance(1)

    def _peek(self, most: int) -> list[Alert]:
        with self._lock:
            found = self._spool.peek(most, self._unread)
            self._count_spoilt()
            return found

    def _count_spoilt(self) -> None:
        if spoilt := self._spool.spoilt:
            self._lose("spool_failed", spoilt)
            self._spool.said()

    def _settle(self, sent: int, unread: int) -> None:
        """``sent`` more alerts are on their way; of all that are, the last ``unread`` may not have been read."""
        read = self._unread + sent - unread
        self._unread = unread
        if read:
            with self._lock:
                self._spool.advance(read)
            self._metrics.sent(self._name, read, self._clocks.wall())

    def _failed(self, error: SinkRetryableError) -> None:
        before = self._breaker.state
        wait = self._breaker.failed(self._clocks.monotonic(), error.wait_seconds)
        self._metrics.failed(self._name)
        log.warning(
            "alerts cannot be sent",
            sink=self._name,
            reason=str(error),
            waiting=len(self._spool),
            again_in_seconds=round(wait, 1),
        )
        if before == "closed" and self._breaker.state == "open":
            log.error("the circuit breaker is open: the receiver is only probed now and then", sink=self._name)

    def _answered(self, now: float) -> None:
        if self._breaker.state != "closed":
            log.info("the circuit breaker is closed: the receiver takes alerts again", sink=self._name)
        self._breaker.succeeded(now)

    def _show(self) -> None:
        with self._lock:
            self._metrics.waiting(self._name, len(self._spool), self._spool.waiting_bytes, self._dead.size_bytes)
        self._metrics.circuit(self._name, self._breaker.state)
