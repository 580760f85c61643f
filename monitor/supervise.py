"""Drives the loop of the daemon: turn after turn, through times without a broker, to an orderly end."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from monitor.loop import Loop
from monitor.sources.source import Partition, PermanentSourceError, RetryableSourceError, Source
from monitor.watching.health import Health
from monitor.watching.metrics import Metrics

log = structlog.get_logger()

FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 10.0


class Stopping(Protocol):
    """Whether to stop; see `monitor.stop.Stop`."""

    wanted: bool

    def wait(self, seconds: float) -> None:
        """Sleep; raises `monitor.stop.StoppedError` when told to stop."""


class Alone(Protocol):
    """Whether nobody else reads; see `monitor.sources.kafka_group.SoleMember`."""

    def check(self, partitions: Collection[Partition]) -> None:
        """Raises where somebody does; ``partitions`` are those that we read."""


@dataclass(frozen=True, slots=True)
class Supervision:
    """What a loop is driven with: when to stop, whom to tell how it goes, and what comes before each turn."""

    stop: Stopping
    health: Health
    metrics: Metrics
    before: Callable[[], None]


def supervise(loop: Loop, source: Source, alone: Alone, over: Supervision) -> None:
    """Turn until told to stop, then settle. After an error nothing is settled: a window may be half judged."""

    def turn() -> None:
        over.before()
        loop.turn()
        alone.check(loop.partitions)

    try:
        while not over.stop.wanted:
            started = time.monotonic()
            when_reachable(turn, over)
            over.metrics.turn(time.monotonic() - started)
            lag = source.lag()
            over.metrics.lag({(p.topic, p.number): n for p, n in lag.items()})
            over.health.assigned = over.health.assigned or bool(lag)
        log.info("stopping")
        _settle(loop)
    finally:
        _leave(loop)


def when_reachable(step: Callable[[], object], over: Supervision) -> None:
    """Do one step; while the broker is away say so and try again, a little less often each time."""
    wait = FIRST_WAIT
    while True:
        over.health.turned()
        try:
            step()
        except RetryableSourceError as error:
            over.metrics.source_error()
            log.warning("kafka_unreachable", reason=str(error), again_in_seconds=wait)
            over.stop.wait(wait)
            wait = min(wait * 2, LONGEST_WAIT)
        else:
            return


def _settle(loop: Loop) -> None:
    try:
        loop.settle()
    except RetryableSourceError as error:
        meaning = "the next start goes on at the checkpoint before"
        log.warning("the broker did not take the last commit", reason=str(error), meaning=meaning)


def _leave(loop: Loop) -> None:
    """Never hides why we leave."""
    try:
        loop.close()
    except (RetryableSourceError, PermanentSourceError) as error:
        log.warning("the consumer group could not be left in order", reason=str(error))
