"""The clock, held against what model servers say the time is (the `Date` of an answer, in whole seconds).

Kafka's brokers do not tell the time to who only reads: for them see the newest event (`monitor.doctor.kafka_offsets`).
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Final

from monitor.doctor.check import Result, ok, problem, warning
from rollback.reload.exchange import Address

SUBJECT = "clock"
RESOLUTION: Final = 1.0
BEARABLE: Final = 2.0
"""Seconds off beyond what whole seconds and the way of an answer explain."""
TOO_FAR: Final = 60.0


def check_clock(endpoints: Sequence[str], timeout: float, clock: Callable[[], float] = time.time) -> Iterator[Result]:
    """How far we are from each endpoint; nothing about those that do not say, which `servers` tells."""
    for url in dict.fromkeys(endpoints):
        before = clock()
        there = date_of(url, timeout)
        after = clock()
        if there is None:
            continue
        # it was read at some moment between, and then cut to whole seconds
        skew = max(before - there - RESOLUTION, there - after, 0.0)
        said = f"{url} is {skew:.0f} s away from this machine's clock"
        mend = "let a time service set both clocks: windows, cooldowns and labels are told apart by time"
        if skew > TOO_FAR:
            yield problem(SUBJECT, said, mend)
        elif skew > BEARABLE:
            yield warning(SUBJECT, said, mend)
        else:
            yield ok(SUBJECT, f"agrees with {url}")


def date_of(url: str, timeout: float) -> float | None:
    """The time that a server's answer is from, in seconds since the epoch; None where it does not say."""
    address = Address.of(url)
    connection = (
        http.client.HTTPSConnection(address.host, address.port, timeout=timeout, context=ssl.create_default_context())
        if address.secure
        else http.client.HTTPConnection(address.host, address.port, timeout=timeout)
    )
    try:
        connection.request("GET", f"{address.prefix}/v2/health/live")
        said = connection.getresponse().getheader("Date")
        return None if said is None else parsedate_to_datetime(said).timestamp()
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
