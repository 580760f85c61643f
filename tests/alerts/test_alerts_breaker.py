"""The circuit breaker, and the courier around it, whatever the receiver does and whenever the process is killed."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from alert_lines import Way, line, numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from monitor.alerts.alert import Alert
from monitor.alerts.breaker import FAILURES, LONGEST_ASKED_SECONDS, LONGEST_WAIT_SECONDS, Breaker
from monitor.alerts.courier import BATCH
from monitor.alerts.send.memory import MemorySink
from monitor.alerts.sink import SinkPermanentError, SinkRetryableError


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e6)), max_size=60), st.integers(0, 100))
def test_attempts_are_never_closer_than_the_wait_which_is_bounded_and_an_open_breaker_only_probes(
    outcomes: list[tuple[bool, float]], seed: int
) -> None:
    now, in_a_row = 0.0, 0
    breaker = Breaker(random.Random(seed), now)  # noqa: S311 - spreads attempts
    for works, asked_for in outcomes:
        assert breaker.admits(now)
        assert breaker.probing == (in_a_row >= FAILURES)
        if works:
            breaker.succeeded(now)
            in_a_row = 0
            now += 100.0  # well for long
            breaker.succeeded(now)
            continue
        in_a_row += 1
        wait = breaker.failed(now, asked_for)
        assert 0.75 <= wait <= max(1.25 * LONGEST_WAIT_SECONDS, min(asked_for, LONGEST_ASKED_SECONDS))
        assert wait >= min(asked_for, LONGEST_ASKED_SECONDS)
        assert not breaker.admits(now + wait * 0.99)
        assert breaker.state == ("open" if in_a_row >= FAILURES else "closed")
        now += wait


class Moody(MemorySink):
    """Refuses some for good, fails when it is told to, and remembers the largest batch that came since it failed."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.batch = 0

    def send(self, alerts: list[Alert]) -> int:  # type: ignore[override]
        self.batch = len(alerts)
        if self.away and alerts:
            raise SinkRetryableError("away")
        if any(int(alert.incident, 16) % 7 == 3 for alert in alerts):
            raise SinkPermanentError("never")
        return super().send(alerts)


class Way_(RuleBasedStateMachine):  # noqa: N801 - the name pytest shows
    """Every incident arrives in order, or is a dead letter, whatever happens between; nothing is lost by a kill."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.sink = Moody()
        self.way = Way(self.folder, self.sink, spool_bytes=1_000_000_000, burst=10**6)
        self.number = 0

    @rule(n=st.integers(1, BATCH + 10))
    def come(self, n: int) -> None:
        self.way.courier.take([line(self.number + i) for i in range(n)])
        self.number += n

    @rule()
    def come_again(self) -> None:
        self.way.courier.take([line(i) for i in range(max(0, self.number - 5), self.number)])

    @rule(seconds=st.floats(0.1, 120.0))
    def pass_time(self, seconds: float) -> None:
        self.way.clock.now += seconds
        before = self.way.value("circuit_state")
        self.sink.batch = 0
        self.way.courier.work()
        if before == 2:
            assert self.sink.batch <= 1

    @rule()
    def go_away(self) -> None:
        self.sink.away = True

    @rule()
    def come_back(self) -> None:
        self.sink.away = False

    @precondition(lambda self: self.number)
    @rule()
    def killed(self) -> None:
        self.way.start()

    @invariant()
    def in_order_and_nothing_invented(self) -> None:
        got = numbers(self.sink.received)
        assert got == sorted(set(got))
        assert all(number % 7 != 3 for number in got)

    def teardown(self) -> None:
        self.sink.away = False
        for _ in range(20 + 3 * self.number):
            self.way.clock.now += 100.0
            self.way.courier.work()
        wanted = [number for number in range(self.number) if number % 7 != 3]
        got = numbers(self.sink.received)
        shutil.rmtree(self.folder)
        assert got == wanted


TestWay = Way_.TestCase
TestWay.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
