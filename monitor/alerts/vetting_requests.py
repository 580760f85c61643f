"""Requests for labels on their way to a queue, as alerts are on their way to a SIEM: each of them once, by an id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from monitor.alerts.alert import Alert, Notice, digest_of
from monitor.alerts.fit import Cut, TooLongError, fit
from monitor.alerts.outgoing import Chosen, Unsendable
from monitor.alerts.seen import Seen
from monitor.messages import VettingRequest

FAMILY: Final = "vetting"
SEVERITY: Final = 2
"""That of a suspected incident: it pages nobody."""
EXPENDABLE: Final = (Cut("features", 100), Cut("features", 20), Cut("ref"), Cut("features"), Cut("why"))
NEVER_CUT: Final = ("id", "incident", "model")
"""An answer names them."""

_read: Final = msgspec.json.Decoder(VettingRequest).decode


class VettingRequests:
    """A `Choice` for a queue. All of them are sent, however many come: their number is bounded by the budget."""

    def __init__(self, seen: Seen, limit: int) -> None:
        self._seen = seen
        self._limit = limit

    def choose(self, lines: Sequence[bytes]) -> Chosen:
        """See `Choice`: a line is a `tocsin.vetting.v1`."""
        chosen = Chosen()
        keys: set[bytes] = set()
        for line in lines:
            self._choose(line, keys, chosen)
        return chosen

    def last_words(self) -> Chosen:
        """See `Choice`: nothing is held back."""
        return Chosen()

    def notice(self, notice: Notice) -> list[Alert]:  # noqa: ARG002 - the seam's signature
        """See `Choice`: labellers answer questions; metrics and the log have it."""
        return []

    def settled(self, alerts: Sequence[Alert], passed_over: Sequence[bytes]) -> None:
        """See `Choice`."""
        self._seen.add([*passed_over, *(digest_of(alert.id.encode()) for alert in alerts)])

    def _choose(self, line: bytes, keys: set[bytes], chosen: Chosen) -> None:
        key = digest_of(line)
        try:
            request = _read(line)
            key = digest_of(request_id(request).encode())
            if key in self._seen or key in keys:
                return
            keys.add(key)
            chosen.alerts.append(request_alert(request, request_body(request, self._limit)))
        except (msgspec.MsgspecError, TooLongError) as error:
            if key not in self._seen:
                chosen.unsendable.append(Unsendable(line, f"not sent as a vetting request: {error}"))
                chosen.passed_over.append(key)


def request_id(request: VettingRequest) -> str:
    """The same for the same question, also where it is asked again after a crash; safe in any header."""
    asked = msgspec.json.encode((request.model, request.incident, request.id))
    return f"vetting-{digest_of(asked).hex()}"


def request_body(request: VettingRequest, limit: int) -> bytes:
    """One line of JSON in at most ``limit`` bytes, with the alert's id; `truncated` lists what was left out for it.

    Raises `TooLongError` where an answer could no longer name the event.
    """
    document: dict[str, Any] = {"alert_id": request_id(request)} | msgspec.to_builtins(request)
    body = fit(document, limit, EXPENDABLE, "truncated")
    kept = msgspec.json.decode(body)
    if any(kept[name] != document[name] for name in NEVER_CUT):
        raise TooLongError(f"the names of the event alone are longer than {limit} bytes: raise max_message_bytes")
    return body


def request_alert(request: VettingRequest, body: bytes) -> Alert:
    """A request as senders take it: they send no incidents, but alerts of any content."""
    return Alert(
        id=request_id(request),
        incident=request.incident,
        model=request.model or "",
        family=FAMILY,
        activity="create",
        status="suspected",
        severity=SEVERITY,
        at=request.asked_at,
        body=body,
    )
