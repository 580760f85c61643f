"""Maintenance windows: times in which people work on the servers, and nothing is begun that they did not approve."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_FORM: Final = re.compile(r"(?P<days>daily|[A-Za-z]{3}(?:,[A-Za-z]{3})*) (?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Maintenance:
    """On each of ``days`` (0 is Monday) from ``start`` to ``end`` of the zone's wall clock.

    An ``end`` that is not after ``start`` is one of the next day.
    """

    days: frozenset[int]
    start: time
    end: time
    zone: ZoneInfo

    def end_at(self, now: float) -> float | None:
        """When the window that is open ``now`` ends (seconds since the epoch); None while it is not open."""
        local = datetime.fromtimestamp(now, self.zone)
        for back in (0, 1):
            day = local.date() - timedelta(days=back)
            last = day if self.end > self.start else day + timedelta(days=1)
            begins = datetime.combine(day, self.start, self.zone).timestamp()
            ends = datetime.combine(last, self.end, self.zone).timestamp()
            if day.weekday() in self.days and begins <= now < ends:
                return ends
        return None


def maintenance(text: str, zone: str = "UTC") -> Maintenance:
    """A window as it is written in a configuration: ``Sat,Sun 02:00-06:00`` or ``daily 22:00-02:00``.

    Raises `ValueError` for anything else, and for a zone that is not known.

    >>> window = maintenance("Sat 22:00-02:00", "Europe/Berlin")
    >>> sorted(window.days), window.start.hour, window.end.hour
    ([5], 22, 2)
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no window; write it as 'Sat,Sun 02:00-06:00' or 'daily 22:00-02:00'")
    names = DAYS if found["days"] == "daily" else [name.capitalize() for name in found["days"].split(",")]
    if unknown := [name for name in names if name not in DAYS]:
        raise ValueError(f"{text!r}: {unknown[0]} is no day; days are {', '.join(DAYS)}")
    try:
        start, end = (time.fromisoformat(found[part]) for part in ("start", "end"))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error
    try:
        return Maintenance(frozenset(DAYS.index(name) for name in names), start, end, ZoneInfo(zone))
    except (KeyError, OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"{zone!r} is no time zone, such as UTC or Europe/Berlin") from error


def over_at(windows: Iterable[Maintenance], now: float) -> float | None:
    """When no window is open any more, those that follow each other taken together; None where none is open ``now``."""
    known = tuple(windows)
    over, at = None, now
    while (ends := max((e for w in known if (e := w.end_at(at)) is not None), default=None)) is not None:
        over = at = ends
        if at - now > 8 * 86_400:
            break
    return over
