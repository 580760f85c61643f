"""Sends dead letters again: as they would be told now where the incident is still known, else as they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from monitor.alerts.alert import Alert, IncidentMessage, UnreadableIncidentError, read_incident
from monitor.alerts.dead_letters import Letter
from monitor.alerts.encoder import Encoder
from monitor.alerts.fit import TooLongError
from monitor.alerts.outgoing import incident_alert
from monitor.alerts.published import CLOSE, closes_of
from monitor.alerts.sink import Sink, SinkPermanentError, SinkRetryableError
from monitor.alerts.vetting_requests import request_alert, request_body
from monitor.messages import VettingRequest

log = structlog.get_logger()


@dataclass(slots=True)
class Replayed:
    """``sent`` alerts got there, ``closed`` are of incidents that are over and were left where they are.

    ``why`` is the reason of the last of those ``refused``. ``away`` says why the receiver could not be reached to the
    end; empty if it was.
    """

    sent: int = 0
    refused: int = 0
    closed: int = 0
    why: str = ""
    away: str = ""


class OverError(Exception):
    """An alert's incident is closed by now: to tell it would ring for what is over."""


def replay(letters: list[Letter], sink: Sink, encoder: Encoder, published: Path, *, closed: bool = False) -> Replayed:
    """Send what can be sent; what cannot stays in ``letters``, with the newest reason. Closes the sink.

    ``published`` is `incidents.ndjson`: an alert of an incident that is found there is encoded anew, so that a format
    or a greatest length that was changed since counts; one of an incident that is closed there stays as it is, unless
    it is the close itself, or ``closed`` asks for those as well.
    """
    wanted = {letter.head["id"] for letter in letters if letter.head is not None}
    known = _published(published, wanted)
    over = {} if closed else closes_of(published, {_opening(letter) for letter in letters} - {""})

    def alert(letter: Letter) -> Alert:
        if _opening(letter) in over:
            raise OverError
        return _alert(letter, known, encoder)

    return _replay(letters, sink, alert)


def replay_requests(letters: list[Letter], sink: Sink, limit: int) -> Replayed:
    """The same for vetting requests, of at most ``limit`` bytes each: as they were."""
    return _replay(letters, sink, lambda letter: letter.as_alert() or _request(letter, limit))


def _replay(letters: list[Letter], sink: Sink, alert: Callable[[Letter], Alert]) -> Replayed:
    result, kept, sent = Replayed(), list[Letter](), list[Letter]()
    for letter in letters:
        if result.away:
            kept.append(letter)
            continue
        try:
            sink.send([alert(letter)])
        except SinkRetryableError as error:
            result.away = str(error)
            kept.append(letter)
        except OverError:
            result.closed += 1
            kept.append(letter)
        except (SinkPermanentError, UnreadableIncidentError) as error:
            kept.append(_refused(letter, str(error), result))
        except Exception as error:
            log.exception("a sender failed in a way that nobody thought of")
            kept.append(_refused(letter, f"the sender failed: {type(error).__name__}: {error}", result))
        else:
            sent.append(letter)
    try:
        sink.close()
    except SinkRetryableError as error:
        result.away = result.away or str(error)
    if result.away:
        kept, sent = sent + kept, []  # without an answer nobody knows which of them were read: again is better
    result.sent = len(sent)
    letters[:] = kept
    return result


def _refused(letter: Letter, why: str, result: Replayed) -> Letter:
    result.refused += 1
    result.why = why
    return msgspec.structs.replace(letter, reason=why)


def _opening(letter: Letter) -> str:
    """The incident that it would have the receiver take for open; empty where it would not, or that cannot be told."""
    if letter.head is not None:
        uid, activity = letter.head.get("incident", ""), letter.head.get("activity")
    else:
        try:
            head = read_incident(letter.alert.encode()).head
        except UnreadableIncidentError:
            return ""
        uid, activity = head.uid, head.activity
    return "" if activity == CLOSE else str(uid)


def _alert(letter: Letter, known: Mapping[str, IncidentMessage], encoder: Encoder) -> Alert:
    """Raises `UnreadableIncidentError` where no alert can be made of it."""
    before = letter.as_alert()
    if before is not None and before.id not in known:
        return before
    message = read_incident(letter.alert.encode()) if before is None else known[before.id]
    try:
        return incident_alert(message, encoder.incident(message))
    except Exception as error:
        raise UnreadableIncidentError(f"{type(error).__name__}: {error}") from error


def _request(letter: Letter, limit: int) -> Alert:
    try:
        request = msgspec.json.decode(letter.alert, type=VettingRequest)
        return request_alert(request, request_body(request, limit))
    except (msgspec.MsgspecError, TooLongError) as error:
        raise UnreadableIncidentError(f"not sent as a vetting request: {error}") from error


def _published(path: Path, wanted: set[str]) -> dict[str, IncidentMessage]:
    """The messages with these alert ids."""
    if not wanted or not path.exists():
        return {}
    uids = {ident.split("-")[0].encode() for ident in wanted}
    found: dict[str, IncidentMessage] = {}
    with path.open("rb") as file:
        for line in file:
            if not any(uid in line for uid in uids):
                continue
            try:
                message = read_incident(line)
            except UnreadableIncidentError:
                continue  # the loop's business, and half a line at the end is usual
            if message.id in wanted:
                found[message.id] = message
    return found
