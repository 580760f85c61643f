"""Splunk's HTTP Event Collector (https://help.splunk.com, "Set up and use HTTP Event Collector"), in batches.

With ``acknowledge`` an alert counts as read when the indexers have it (`/services/collector/ack`); without it when the
collector took it, which may be lost with the collector. What is not acknowledged in `ACK_SECONDS` is sent again, and
later each time, so that a collector that never does is not filled with repeats.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import msgspec

from monitor.alerts.alert import Alert
from monitor.alerts.fit import to_json
from monitor.alerts.http_receiver import JSON, SUCCESS, HttpReceiver, receiver
from monitor.alerts.json_body import as_json
from monitor.alerts.sink import Sink, SinkPermanentError, SinkRetryableError, SinkSurroundings
from monitor.settings.sink_sections import SinkConfig
from rollback.timed_http import Answer

EVENTS: Final = "/services/collector/event"
ACKS: Final = "/services/collector/ack"
TAKES_NEVER: Final = frozenset({6, 12, 13, 15})
"""Its codes for an event that is wrong: data format, no event, blank event, indexed fields."""
ADVICE: Final[Mapping[int, str]] = {
    1: "the token is disabled: enable it in Splunk",
    2: "it saw no token: check token_file, and that nothing in between takes headers away",
    3: "it does not know this kind of token: check token_file",
    4: "it does not know the token: check token_file",
    7: "the token may not write to this index: check index, and the token's allowed indexes",
    14: "acknowledgement is switched off for this token: leave acknowledge away, or enable it in Splunk",
}
TOO_LARGE: Final = 413
ACK_SECONDS: Final = 300.0
LONGEST_ACK_SECONDS: Final = 3600.0
POLL_SECONDS: Final = 1.0
"""How often acknowledgements are asked for."""
CLOSE_SECONDS: Final = 15.0
"""Indexers take their time; a process that ends does not wait for it, but one that tries a sink out does."""
MOST_UNREAD: Final = 10_000
"""More alerts than that are not sent without an acknowledgement."""


class _Sent(NamedTuple):
    ack: int
    alerts: int
    at: float


class HecSink:
    """A `Sink`. ``envelope`` is what stands around each event, ``channel`` a GUID that nobody else uses."""

    def __init__(
        self,
        hec: HttpReceiver,
        envelope: Mapping[str, str],
        channel: str,
        monotonic: Callable[[], float],
        *,
        acknowledge: bool,
    ) -> None:
        self._hec = hec
        self._envelope = envelope
        self._headers = {"Content-Type": JSON, "X-Splunk-Request-Channel": channel}
        self._monotonic = monotonic
        self._acknowledge = acknowledge
        self._sent: deque[_Sent] = deque()
        self._acked: set[int] = set()
        self._polled_at = -POLL_SECONDS
        self._ack_seconds = ACK_SECONDS

    def send(self, alerts: Sequence[Alert]) -> int:
        """See `Sink`."""
        with self._counted():
            self._look_after()
            if alerts:
                self._post(alerts)
        return self._unread()

    def close(self) -> None:
        """See `Sink`: waits a moment for what is not acknowledged."""
        until = self._monotonic() + CLOSE_SECONDS
        with self._counted():
            while self._sent and self._monotonic() < until:
                self._look_after()
                time.sleep(0.1)
            if left := self._unread():
                raise SinkRetryableError(
                    f"{self._hec.where()}: sent, but the indexers have not acknowledged the last {left} alerts yet"
                )

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """A failure forgets what was sent, and says how much of it the indexers have all the same."""
        before = self._unread()
        try:
            yield
        except SinkRetryableError as error:
            read = before - self._unread()
            self._forget()
            raise SinkRetryableError(str(error), read=read, wait_seconds=error.wait_seconds) from error

    def _post(self, alerts: Sequence[Alert]) -> None:
        if self._unread() > MOST_UNREAD:
            raise SinkRetryableError(f"{self._hec.where()}: {self._unread()} alerts wait for acknowledgements")
        answer = self._hec.post(EVENTS, b"".join(self._event(alert) for alert in alerts), self._headers)
        said = _document(answer)
        if answer.status not in SUCCESS:
            if said.get("code") in TAKES_NEVER or answer.status == TOO_LARGE:
                raise SinkPermanentError(self._hec.why(answer))
            raise self._failure(answer)
        if said.get("code") != 0:
            raise SinkRetryableError(f"{self._hec.where()}: its answer is not that of an event collector: check url")
        if not self._acknowledge:
            return
        ack = said.get("ackId")
        if not isinstance(ack, int) or isinstance(ack, bool):
            raise SinkRetryableError(f"{self._hec.where()}: it gives no ackId: {ADVICE[14]}")
        if any(sent.ack == ack for sent in self._sent):
            # an acknowledgement would be taken for that of the older alerts, which died with the collector's memory
            raise SinkRetryableError(
                f"{self._hec.where()}: the collector counts from the start, it was restarted; "
                f"the last {self._unread()} alerts go again"
            )
        self._sent.append(_Sent(ack, len(alerts), self._monotonic()))

    def _event(self, alert: Alert) -> bytes:
        fields = {"tocsin_alert": alert.id, "tocsin_incident": alert.incident}
        head = {"time": round(alert.at, 3), **self._envelope, "fields": fields}
        return to_json(head)[:-1] + b',"event":' + as_json(alert.body) + b"}"

    def _failure(self, answer: Answer) -> SinkRetryableError:
        """A wrong token must send nothing to the dead letters: somebody mends it, and everything still arrives."""
        advice = ADVICE.get(_document(answer).get("code", 0))
        why = self._hec.why(answer) + (f": {advice}" if advice else "")
        return SinkRetryableError(why, wait_seconds=self._hec.patience(answer))

    def _look_after(self) -> None:
        """Ask for acknowledgements, where it is time to."""
        now = self._monotonic()
        if not self._sent or now - self._polled_at < POLL_SECONDS:
            return
        self._polled_at = now
        waiting = [sent.ack for sent in self._sent if sent.ack not in self._acked]
        answer = self._hec.post(ACKS, to_json({"acks": waiting}), self._headers)
        if answer.status not in SUCCESS:
            raise self._failure(answer)
        found = _document(answer).get("acks")
        if not isinstance(found, dict):
            raise SinkRetryableError(f"{self._hec.where()}: its answer about acknowledgements cannot be read")
        if acked := {ack for ack in waiting if found.get(str(ack)) is True}:
            self._acked |= acked
            self._ack_seconds = ACK_SECONDS
        self._settle(now)

    def _settle(self, now: float) -> None:
        """In the order in which they were sent."""
        while self._sent and self._sent[0].ack in self._acked:
            self._acked.discard(self._sent.popleft().ack)
        if self._sent and now - self._sent[0].at > self._ack_seconds:
            waited, self._ack_seconds = self._ack_seconds, min(2 * self._ack_seconds, LONGEST_ACK_SECONDS)
            raise SinkRetryableError(
                f"{self._hec.where()}: the indexers have not acknowledged within {waited:g} s; the last "
                f"{self._unread()} alerts go again (a load balancer needs sticky sessions)"
            )

    def _unread(self) -> int:
        return sum(sent.alerts for sent in self._sent)

    def _forget(self) -> None:
        self._sent.clear()
        self._acked.clear()


def _document(answer: Answer) -> dict[str, Any]:
    try:
        return msgspec.json.decode(answer.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:
    """The sink."""
    envelope = {
        "host": around.hostname,
        "source": "tocsin",
        "sourcetype": config.sourcetype or f"tocsin:{config.format if config.gets == 'incidents' else config.gets}",
        **({"index": config.index} if config.index else {}),
    }
    hec = receiver(config, around, scheme="Splunk")
    return HecSink(hec, envelope, str(uuid.uuid4()), around.monotonic, acknowledge=config.acknowledge)
