"""What follows from a judged window: a record, perhaps an incident, requests for labels, and a response."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import structlog

from detectors.evidence import Ask, State
from monitor.incidents.book import IncidentBook
from monitor.incidents.dismissals import Dismissal
from monitor.incidents.fields import Sighting
from monitor.intake import Intake
from monitor.messages import Incident, OffsetRange, WindowItem
from monitor.outlets import Outlet
from monitor.record import window_record
from monitor.response import Responding, action, remedied
from monitor.vetting import VettingDesk, about_rows, interleave
from monitor.watch import Judged, Watch
from monitor.watching.metrics import Metrics
from monitor.window import ClosedWindow
from rollback.response.policy import Finding

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outlets:
    """The files (and whatever else) that the loop writes: one JSON object a line."""

    windows: Outlet
    incidents: Outlet
    vetting: Outlet


class Teller:
    """Turns verdicts into records, incidents, vetting requests and responses."""

    def __init__(
        self,
        book: IncidentBook,
        desk: VettingDesk,
        responding: Responding,
        outlets: Outlets,
        metrics: Metrics,
        intake: Intake,
    ) -> None:
        self._book = book
        self._desk = desk
        self._responding = responding
        self._outlets = outlets
        self._metrics = metrics
        self._find = intake.event
        self._partition_of = intake.partition
        self._tell_rows = intake.known_rows
        self._encode = msgspec.json.Encoder().encode
        self._at = 0.0
        self.windows = 0

    def tell(self, closed: ClosedWindow, judged: Judged, watch: Watch, came: float = 0.0) -> None:
        """Everything that one window gives rise to, in the order in which a reader would want it.

        ``came``: when a window without events came to be; event time does not advance by it.
        """
        model, version = closed.model, closed.version
        at = self._advance(closed)
        for owner, expired in self._desk.expire(at).items():
            self._metrics.vetting(owner, "expired", expired)
        at = max(at, came)
        asking = self._asks(judged, model, version)
        pointers = watch.pointers()
        ranges = self._ranges(closed)
        ids = closed.batch.id
        window = WindowItem(closed.index, *((str(ids[0]), str(ids[-1])) if len(ids) else ("", "")), ranges)
        since = watch.first_poisoned(judged)
        seen = Sighting(
            model, version, pointers.last_known_good, at, window, judged.verdict, judged.evidence, asking, since
        )
        incidents = self._book.consider(seen)
        uid = self._book.uid(model, version)
        if seen.finding and not any(incident.activity != "close" for incident in incidents):
            (self._metrics.folded if uid else self._metrics.dismissed)(model)
        if uid and asking:
            self._ask(uid, closed, judged, watch, at)
        if rows := about_rows(judged.evidence):
            self._ask_rows(rows, closed, watch, at)
        if len(closed.batch):
            self._responding.seen(model, version, _last_at(closed, 0.0))
        if uid:
            incidents += self._response(uid, judged, model, version)
        record = window_record(closed, judged, uid, at) | {"offsets": ranges, "registry": pointers}
        self.windows += 1
        self._outlets.windows.append(self._encode(record))
        self._metrics.window(msgspec.to_builtins(record))
        for incident in incidents:
            self._publish(incident)
        for name in {model, *(incident.model for incident in incidents)}:
            self._metrics.incidents_open(name, self._book.open_for(name))

    def _advance(self, closed: ClosedWindow) -> float:
        """Event time: that of the window's last event that is not from the future; it never goes back."""
        self._at = max(self._at, _last_at(closed, self._at))
        return self._at

    def _asks(self, judged: Judged, model: str, version: str) -> bool:
        """Whether labels would help and are asked for now, or are on their way."""
        if not judged.verdict.suspected:
            return False
        uid = self._book.uid(model, version)
        wanted = bool(interleave(judged.evidence))
        return (wanted and self._desk.left(model, uid) > 0) or (uid is not None and self._desk.waiting(uid) > 0)

    def _ask(self, uid: str, closed: ClosedWindow, judged: Judged, watch: Watch, at: float) -> None:
        served = watch.served(closed.version)
        if served is None:
            return
        asks = interleave(judged.evidence)
        requests = self._desk.ask(closed, uid, asks, served.schema, self._find, at)
        for request in requests:
            self._outlets.vetting.append(self._encode(request))
        self._metrics.vetting(closed.model, "asked", len(requests))

    def _ask_rows(self, asks: list[Ask], closed: ClosedWindow, watch: Watch, at: float) -> None:
        """Rows of a new version's training buffer are asked about without any incident: nothing has happened yet."""
        served = watch.served(closed.version)
        if served is None:
            return
        requests, known = self._desk.ask_rows(closed, asks, served.schema, watch.row, at)
        self._tell_rows(closed.model, closed.version, known)
        for request in requests:
            self._outlets.vetting.append(self._encode(request))
        self._metrics.vetting(closed.model, "asked", len(requests))

    def respond(self) -> bool:
        """Let the response take a step, and tell the news about it; whether there was any."""
        told = [incident for uid in self._responding.step() for incident in self._actions(uid)]
        return self._publish_all(told + self._book.unwatched(self._at))

    def dismissed(self, order: Dismissal) -> bool:
        """Close an incident as an operator orders; whether there was anything to tell."""
        return self._publish_all(self._book.dismiss(order))

    def _publish_all(self, incidents: list[Incident]) -> bool:
        for incident in incidents:
            self._publish(incident)
            self._metrics.incidents_open(incident.model, self._book.open_for(incident.model))
        return bool(incidents)

    def hunted(self, uid: str, missed: str) -> bool:
        """Tell what a hunt about an incident has found; whether there was anything to tell."""
        told = self._book.hunted(uid, missed, self._at)
        for incident in told:
            self._tell(incident)  # nothing has happened to it: it is not counted again
        return bool(told)

    def _response(self, uid: str, judged: Judged, model: str, version: str) -> list[Incident]:
        """Decide about the incident of this window, and tell what was done about it before a crash cut that off."""
        message = self._book.message(uid)
        if message is None:
            return []
        verdict = judged.verdict
        status = "suspected" if verdict.family == "stable" or verdict.tentative else "confirmed"
        text = self._encode(message).decode()
        self._responding.consider(Finding(uid, model, version, verdict.family, status, verdict.confidence, text))
        return self._actions(uid)

    def _actions(self, uid: str) -> list[Incident]:
        cases = self._responding.of(uid)
        told = []
        for case in cases:
            taken = action(case)
            news = self._book.acted(uid, taken, self._at)
            if news:
                self._metrics.action(case.model, taken.action, taken.result, uid)
                log.warning("response", action=taken.action, target=taken.target, result=taken.result, why=taken.detail)
            told += news
            # news or not: what waited before a start waits after it, and was told then
            self._metrics.responses_waiting(case.model, self._responding.waiting(case.model))
        return told + (self._book.remedied(uid, self._at) if remedied(cases) else [])

    def _publish(self, incident: Incident) -> None:
        log.warning(
            "incident",
            uid=incident.uid,
            activity=incident.activity,
            status=incident.status,
            family=incident.family,
            hypothesis=incident.hypothesis,
            confidence=incident.confidence,
            severity=incident.severity,
            folded=incident.folded,
            close_reason=incident.close_reason,
        )
        self._tell(incident)
        self._metrics.incident(incident.model, incident.family, incident.activity, incident.uid)
        if incident.activity == "close":
            self._desk.close(incident.uid)

    def _tell(self, incident: Incident) -> None:
        told = msgspec.structs.replace(incident, audit_checkpoint=self._responding.checkpoint())
        self._outlets.incidents.append(self._encode(told))

    def _ranges(self, closed: ClosedWindow) -> list[OffsetRange]:
        return [
            OffsetRange(*self._partition_of(index), first, after - 1)
            for index, ranges in sorted(closed.ranges.items())
            for first, after in ranges
        ]

    def state(self) -> State:
        """For the checkpoint: open incidents, open requests and the event time reached."""
        return {"book": self._book.state(), "desk": self._desk.state(), "at": self._at, "windows": self.windows}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._book.restore(state["book"])
        for model in self._book.troubled:
            self._metrics.incidents_open(model, self._book.open_for(model))
        self._desk.restore(state["desk"])
        self._at = state["at"]
        self.windows = state["windows"]


def _last_at(closed: ClosedWindow, otherwise: float) -> float:
    """The time of the window's last event that is not from the future; ``otherwise`` where there is none."""
    believed = closed.batch.ts[: len(closed.batch) - closed.future]
    return float(believed[-1]) if len(believed) else otherwise
