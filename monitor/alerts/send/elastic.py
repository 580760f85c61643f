"""Elasticsearch's and OpenSearch's `_bulk`: each alert is created under its own id, so that a repeat changes nothing.

https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from monitor.alerts.alert import Alert, bounded_id
from monitor.alerts.fit import to_json
from monitor.alerts.http_receiver import SUCCESS, TAKES_NEVER, HttpReceiver, receiver
from monitor.alerts.sink import Sink, SinkPermanentError, SinkRetryableError, SinkSurroundings
from monitor.alerts.syslog_frame import timestamp
from monitor.settings.sink_sections import SinkConfig
from rollback.reload.exchange import plain

NDJSON: Final = "application/x-ndjson"
NO_DATE: Final = "-"
ALREADY_THERE: Final = HTTPStatus.CONFLICT


class ElasticSink:
    """A `Sink`. Each item of a bulk is judged by itself: those before the first that fails are done."""

    def __init__(self, elastic: HttpReceiver, index: str) -> None:
        self._elastic = elastic
        self._index = index

    def send(self, alerts: Sequence[Alert]) -> int:
        """See `Sink`."""
        if alerts:
            body = b"".join(_lines(alert) for alert in alerts)
            answer = self._elastic.post(f"/{self._index}/_bulk", body, {"Content-Type": NDJSON})
            if answer.status not in SUCCESS:
                # of a bulk as a whole only its size can be wrong with the alerts
                self._elastic.refuse(answer, never=answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            self._judge(answer.body, len(alerts), self._elastic.where())
        return 0

    def close(self) -> None:
        """See `Sink`: nothing is held."""

    def _judge(self, body: bytes, n: int, where: str) -> None:
        try:
            items = [item["create"] for item in msgspec.json.decode(body, type=dict[str, Any])["items"]]
            statuses = [int(item["status"]) for item in items]
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise SinkRetryableError(f"{where}: its answer to _bulk cannot be read: {error}") from error
        if len(items) != n:
            raise SinkRetryableError(f"{where}: it answers for {len(items)} of {n} alerts")
        for i, (status, item) in enumerate(zip(statuses, items, strict=True)):
            if status in SUCCESS or status == ALREADY_THERE:
                continue
            why = f"{where}: {self._index} answers {status} ({plain(str(item.get('error', '')))})"
            if status in TAKES_NEVER:
                raise SinkPermanentError(why, sent=i)
            raise SinkRetryableError(why, read=i)


def _lines(alert: Alert) -> bytes:
    return to_json({"create": {"_id": bounded_id(alert.id)}}) + b"\n" + _document(alert) + b"\n"


def _document(alert: Alert) -> bytes:
    """With the time that a data stream asks for. An alert that is no JSON was spooled in another format."""
    try:
        found = msgspec.json.decode(alert.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = {"message": alert.body.decode(errors="replace")}
    at = timestamp(alert.at)
    return to_json({"@timestamp": timestamp(0.0) if at == NO_DATE else at, **found})


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:
    """The sink."""
    return ElasticSink(receiver(config, around), config.index or "")
