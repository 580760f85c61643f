"""From the loop's lines to alerts: what is sent, what was sent before, what is too much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from monitor.alerts.admission import Admission
from monitor.alerts.alert import Alert, IncidentMessage, Notice, UnreadableIncidentError, digest_of, read_incident
from monitor.alerts.encoder import Encoder
from monitor.alerts.flood import FloodLimit
from monitor.alerts.seen import Seen

NOTICE_FAMILY: Final = "notice"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which incidents a sink gets."""

    send_suspected: bool = True
    min_severity: int = 0

    def takes(self, message: IncidentMessage) -> bool:
        """Whether this one is sent."""
        head = message.head
        return head.severity >= self.min_severity and (self.send_suspected or head.status != "suspected")

    def introduces(self, message: IncidentMessage) -> bool:
        """Whether it is sent, too, to who was told nothing of its incident: the end of a mere suspicion is not."""
        return self.takes(message) and (self.send_suspected or message.head.status != "retracted")


@dataclass(frozen=True, slots=True)
class Unsendable:
    """A line that no alert can be made of."""

    line: bytes
    reason: str


@dataclass(slots=True)
class Chosen:
    """What becomes of some lines. ``passed_over`` are the keys of those that need not be looked at again.

    ``suppressed`` were too many, ``muted`` came and went while nobody was to be told; of the ``folded`` ones, the
    newest of each incident is told later.
    """

    alerts: list[Alert] = field(default_factory=list)
    passed_over: list[bytes] = field(default_factory=list)
    unsendable: list[Unsendable] = field(default_factory=list)
    suppressed: int = 0
    muted: int = 0
    folded: int = 0


class Choice(Protocol):
    """What a sink makes of the loop's lines."""

    def choose(self, lines: Sequence[bytes]) -> Chosen:
        """What is to be sent of ``lines``, each of them once."""

    def last_words(self) -> Chosen:
        """What was held back, and is to be sent before the end."""

    def notice(self, notice: Notice) -> list[Alert]:
        """How to tell something about the alerts themselves; nothing where the receiver would not understand it."""

    def settled(self, alerts: Sequence[Alert], passed_over: Sequence[bytes]) -> None:
        """``alerts`` are in the spool, the rest never will be: the same lines may come again and are passed over."""


class Outgoing:
    """A `Choice` for incidents. ``monotonic`` and ``wall`` are clocks in seconds, the latter since the epoch."""

    def __init__(
        self,
        sink: str,
        wanted: Wanted,
        limit: FloodLimit,
        seen: Seen,
        encoder: Encoder,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        admission: Admission | None = None,
    ) -> None:
        self._admission = admission
        self._sink = sink
        self._wanted = wanted
        self._limit = limit
        self._seen = seen
        self._encoder = encoder
        self._monotonic = monotonic
        self._wall = wall

    def choose(self, lines: Sequence[bytes]) -> Chosen:
        """See `Choice`."""
        chosen = Chosen()
        if self._limit.over(self._monotonic()):
            self._add_summary(chosen)
        fresh = self._fresh(lines, chosen)
        if self._admission is not None:
            newer = {message.head.uid for message in fresh.values()}
            for line in self._admission.due(self._wall(), newer):
                self._release(line, chosen)
        for line, message in fresh.items():
            self._choose(line, message, chosen)
        return chosen

    def last_words(self) -> Chosen:
        """See `Choice`: the sum of a flood that is not over yet."""
        chosen = Chosen()
        self._add_summary(chosen)
        return chosen

    def notice(self, notice: Notice) -> list[Alert]:
        """See `Choice`."""
        return [notice_alert(notice, self._encoder.notice(notice))]

    def pass_over(self, lines: Sequence[bytes]) -> None:
        """None of these is ever to be sent."""
        self._seen.add([_key(line) for line in lines])

    def settled(self, alerts: Sequence[Alert], passed_over: Sequence[bytes]) -> None:
        """See `Choice`."""
        if self._admission:
            self._admission.settle({alert.id for alert in alerts}, self._wall())
        self._seen.add([*passed_over, *(digest_of(alert.id.encode()) for alert in alerts)])

    def _fresh(self, lines: Sequence[bytes], chosen: Chosen) -> dict[bytes, IncidentMessage]:
        """The incidents among ``lines`` that did not come before, by their lines."""
        found: dict[bytes, IncidentMessage] = {}
        keys: set[bytes] = set()
        for line in lines:
            try:
                message = read_incident(line)
            except UnreadableIncidentError as error:
                key = digest_of(line)
                if key not in self._seen:
                    chosen.unsendable.append(Unsendable(line, str(error)))
                    chosen.passed_over.append(key)
                continue
            key = digest_of(message.id.encode())
            if key not in self._seen and key not in keys:
                keys.add(key)
                found[line] = message
        return found

    def _choose(self, line: bytes, message: IncidentMessage, chosen: Chosen) -> None:
        admitted = self._admitted(message, line, chosen)
        if admitted is None:
            chosen.passed_over.append(digest_of(message.id.encode()))
        else:
            self._encode(line, admitted, chosen)

    def _release(self, line: bytes, chosen: Chosen) -> None:
        """One that was held back until now; it was passed over when it came."""
        admitted = self._admitted(read_incident(line), line, chosen)
        if admitted is not None:
            self._encode(line, admitted, chosen)

    def _admitted(self, message: IncidentMessage, line: bytes, chosen: Chosen) -> IncidentMessage | None:
        """The message as it is to be told now; None where it is not."""
        told = message
        if self._admission is not None:
            answer, folded = self._admission.admit(message, line, self._wall())
            chosen.muted += answer == "muted"
            chosen.folded += answer == "hold"
            if answer != "send":
                return None
            told = standing_for(message, folded)
        elif not self._wanted.takes(message):
            return None
        if self._limit.passes(message, self._monotonic()):
            return told
        chosen.suppressed += 1
        if self._admission is not None:
            self._admission.withdrawn(message)
        return None

    def _encode(self, line: bytes, message: IncidentMessage, chosen: Chosen) -> None:
        try:
            body = self._encoder.incident(message)
        except Exception as error:  # noqa: BLE001 - whatever is odd about one incident, the next must still be told
            chosen.unsendable.append(Unsendable(line, f"{type(error).__name__}: {error}"))
            chosen.passed_over.append(digest_of(message.id.encode()))
            return
        chosen.alerts.append(incident_alert(message, body))

    def _add_summary(self, chosen: Chosen) -> None:
        notice = self._limit.sum_up(self._sink, self._wall())
        if notice is not None:
            chosen.alerts += self.notice(notice)


def standing_for(message: IncidentMessage, windows: int) -> IncidentMessage:
    """The same, which stands for so many more windows that were not told of."""
    if not windows:
        return message
    return replace(message, fields={**message.fields, "folded": int(message.fields.get("folded", 0)) + windows})


def _key(line: bytes) -> bytes:
    try:
        return digest_of(read_incident(line).id.encode())
    except UnreadableIncidentError:
        return digest_of(line)


def incident_alert(message: IncidentMessage, body: bytes) -> Alert:
    """An encoded incident as an alert."""
    head = message.head
    return Alert(
        id=message.id,
        incident=head.uid,
        model=head.model,
        family=head.family,
        activity=head.activity,
        status=head.status,
        severity=head.severity,
        at=head.at,
        body=body,
    )


def notice_alert(notice: Notice, body: bytes) -> Alert:
    """A notice as an alert; it belongs to no model."""
    return Alert(
        id=notice.uid,
        incident=notice.uid,
        model="",
        family=NOTICE_FAMILY,
        activity="create",
        status="confirmed",
        severity=notice.severity,
        at=notice.at,
        body=body,
    )
