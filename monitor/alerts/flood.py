"""No more alerts than a person can read: what is above is counted, and summed up in one notice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from monitor.alerts.alert import IncidentMessage, Notice

QUIET_SECONDS: Final = 60.0
"""A flood is over when nothing was suppressed for so long ..."""
LONGEST_SECONDS: Final = 600.0
"""... and summed up after so long even while it goes on."""
HIGH: Final = 7
"""Severities from here on have a limit of their own: a flood of small alerts must not hide a grave one."""
REMEMBERED: Final = 10_000
"""Incidents that were told, and whose end is still to be."""


@dataclass(slots=True)
class _Bucket:
    """A token bucket."""

    tokens: float
    filled_at: float

    def take(self, now: float, per_second: float, burst: int) -> bool:
        self.tokens = min(burst, self.tokens + (now - self.filled_at) * per_second)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class _Flood:
    started_at: float
    latest_at: float
    severity: int = 0
    by_model: Counter[str] = field(default_factory=Counter)


class FloodLimit:
    """Lets ``per_minute`` alerts pass, ``burst`` at once; low and high severities each. Times are of one clock.

    The end of an incident that was told passes besides, once: who was told of it would believe it open for ever.
    """

    def __init__(self, per_minute: float, burst: int, now: float) -> None:
        self._per_second = per_minute / 60
        self._burst = burst
        self._buckets = {high: _Bucket(burst, now) for high in (False, True)}
        self._flood: _Flood | None = None
        self._told: dict[str, None] = {}

    def passes(self, message: IncidentMessage, now: float) -> bool:
        """Whether the alert is to be sent; if not, it is counted."""
        head = message.head
        over = head.activity == "close"
        told = head.uid in self._told
        if over:
            self._told.pop(head.uid, None)
        if self._buckets[head.severity >= HIGH].take(now, self._per_second, self._burst) or (over and told):
            if not over:
                self._remember(head.uid)
            return True
        flood = self._flood = self._flood or _Flood(now, now)
        flood.latest_at = now
        flood.severity = max(flood.severity, head.severity)
        flood.by_model[head.model] += 1
        return False

    def _remember(self, uid: str) -> None:
        self._told[uid] = None
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]

    def over(self, now: float) -> bool:
        """Whether there is something to sum up now."""
        flood = self._flood
        return flood is not None and (
            now - flood.latest_at >= QUIET_SECONDS or now - flood.started_at >= LONGEST_SECONDS
        )

    def sum_up(self, sink: str, at: float) -> Notice | None:
        """What was suppressed since the last time, None where nothing was; ``at`` is seconds since the epoch."""
        flood, self._flood = self._flood, None
        if flood is None:
            return None
        n = flood.by_model.total()
        facts: dict[str, Any] = {"suppressed": n, "models": dict(flood.by_model.most_common(20)), "sink": sink}
        return Notice(
            uid=f"suppressed-{sink}-{round(at * 1000)}",
            at=at,
            severity=flood.severity,
            title=f"{n} alerts were not sent",
            text=f"{n} alerts were above the limit of sink {sink}. All of them are in incidents.ndjson.",
            facts=facts,
        )
