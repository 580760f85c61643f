"""Prometheus' Alertmanager, API version 2: an open incident is a firing alert, and is resolved when it closes.

An alert is known by its labels, so that these stay the same while an incident's family and severity change; those are
annotations. Open incidents are sent again every `AGAIN_SECONDS` (an Alertmanager forgets them when it restarts), and
would resolve by themselves `OPEN_SECONDS` after the last time, should nobody ever close them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog

from monitor.alerts.alert import Alert, grade
from monitor.alerts.fit import to_json
from monitor.alerts.http_receiver import JSON, HttpReceiver, receiver
from monitor.alerts.one_line import listed, shortened, visible
from monitor.alerts.outgoing import NOTICE_FAMILY
from monitor.alerts.sample import TEST_MODEL
from monitor.alerts.sink import Sink, SinkPermanentError, SinkSurroundings
from monitor.settings.sink_sections import SinkConfig

log = structlog.get_logger()

PATH: Final = "/api/v2/alerts"
INCIDENT: Final = "TocsinIncident"
NOTICE: Final = "TocsinNotice"
AGAIN_SECONDS: Final = 60.0
OPEN_SECONDS: Final = 259_200.0
"""Three days: Tocsin may be away over a weekend."""
SHORT_SECONDS: Final = 600.0
"""What has no end of its own, a notice or a test, resolves after that."""
MOST_OPEN: Final = 1000
REPEATED: Final = 50
"""Open incidents that are told again at once."""
LONGEST_TEXT: Final = 1000
OVER: Final = frozenset({"retracted", "resolved"})

_Posted = dict[str, Any]


class AlertmanagerSink:
    """A `Sink`. ``labels`` go with every alert; ``monotonic`` and ``wall`` are clocks in seconds."""

    def __init__(
        self,
        alertmanager: HttpReceiver,
        labels: Mapping[str, str],
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._alertmanager = alertmanager
        self._labels = labels
        self._monotonic = monotonic
        self._wall = wall
        self._open: dict[str, _Posted] = {}
        self._again_at = monotonic() + AGAIN_SECONDS

    def send(self, alerts: Sequence[Alert]) -> int:
        """See `Sink`."""
        now = self._monotonic()
        told = [self._posted(alert) for alert in alerts]
        if told:
            self._post(told)
            self._remember(alerts, told)
        if now >= self._again_at:
            self._again_at = now + AGAIN_SECONDS
            self._repeat()
        return 0

    def close(self) -> None:
        """See `Sink`: what is open stays so there."""
        self._open.clear()

    def _repeat(self) -> None:
        """What is open, in parts that no server takes for too much. None of it waits in the spool."""
        posted = [self._ending(posted, OPEN_SECONDS) for posted in self._open.values()]
        for i in range(0, len(posted), REPEATED):
            try:
                self._post(posted[i : i + REPEATED])
            except SinkPermanentError as error:
                log.warning("open incidents are not told again: they end there by themselves", reason=str(error))

    def _post(self, told: Sequence[_Posted]) -> None:
        self._alertmanager.demand(PATH, to_json(told), {"Content-Type": JSON})

    def _remember(self, alerts: Sequence[Alert], told: Sequence[_Posted]) -> None:
        for alert, posted in zip(alerts, told, strict=True):
            self._open.pop(alert.incident, None)
            if _is_over(alert) or _has_no_end(alert):
                continue
            self._open[alert.incident] = posted
        while len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]

    def _posted(self, alert: Alert) -> _Posted:
        fields = _fields(alert)
        begun = max(0.0, min(fields.get("opened_at", alert.at), self._wall()))
        posted = {"labels": self._names(alert, fields), "annotations": _told(alert, fields), "startsAt": _date(begun)}
        if _is_over(alert):
            return self._ending(posted, 0.0)
        return self._ending(posted, SHORT_SECONDS if _has_no_end(alert) else OPEN_SECONDS)

    def _ending(self, posted: _Posted, seconds: float) -> _Posted:
        return {**posted, "endsAt": _date(self._wall() + seconds)}

    def _names(self, alert: Alert, fields: Mapping[str, Any]) -> dict[str, str]:
        """What never changes while an incident is open."""
        names = {
            **self._labels,
            "alertname": NOTICE if alert.family == NOTICE_FAMILY else INCIDENT,
            "incident": alert.incident,
            "model": alert.model,
            "version": str(fields.get("version") or ""),
        }
        return {name: text for name, value in names.items() if (text := _short(value))}


def _is_over(alert: Alert) -> bool:
    return alert.activity == "close" or alert.status in OVER


def _has_no_end(alert: Alert) -> bool:
    return alert.family == NOTICE_FAMILY or alert.model == TEST_MODEL


def _told(alert: Alert, fields: Mapping[str, Any]) -> dict[str, str]:
    cause = fields.get("hypothesis") or alert.family
    implicated = fields.get("implicated") or {}
    told = {
        "title": fields.get("title") or f"{cause} in model {alert.model}, version {fields.get('version')}",
        "summary": fields.get("summary") or "",
        "family": alert.family,
        "hypothesis": fields.get("hypothesis") or "",
        "status": alert.status,
        "severity": str(alert.severity),
        "grade": grade(alert.severity),
        "confidence": str(fields.get("confidence", "")),
        "last_known_good": str(fields.get("last_known_good") or ""),
        "sources": listed(implicated.get("sources")),
        "trigger": listed(implicated.get("features")),
        "alert": alert.id,
    }
    return {name: text for name, value in told.items() if (text := _short(value))}


def _fields(alert: Alert) -> Mapping[str, Any]:
    """Of the incident or notice; nothing where it was spooled in another format."""
    try:
        return msgspec.json.decode(alert.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _short(value: str) -> str:
    return shortened(visible(value), LONGEST_TEXT)


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:
    """The sink."""
    return AlertmanagerSink(receiver(config, around), config.labels, around.monotonic, around.wall)
