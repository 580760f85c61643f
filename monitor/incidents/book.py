"""The life of an incident: one uid from create through update to close, whatever its family becomes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from detectors.evidence import State
from monitor.incidents.dismissals import Dismissal, Dismissed
from monitor.incidents.fields import Face, Sighting, face_of, fields_of, incident_uid
from monitor.incidents.severity import response_of, severity, touched
from monitor.messages import ActionTaken, Incident

MOST_CLOSED: Final = 50
"""Closed incidents are remembered, so that it can be told when a response comes undone, and what a hunt has found.

Those without any response are forgotten first."""
WORLD: Final = frozenset(
    {"covariate_drift", "concept_drift", "new_class", "evasion_burst", "probing", "pipeline_fault"}
)
"""What happens to the events and not to a version: seen at two versions of a model, it is one incident."""
UNDER_WAY: Final = frozenset({"proposed", "running", "halted"})
"""Results of a response that is not over."""
OVER: Final = frozenset({"done", "declined", "withdrawn", "rejected"})
"""Results after which nobody needs to look: they open no incident again that is closed."""

Key = tuple[str, str]


@dataclass(slots=True)
class _Open:
    """``sure`` and ``share`` are the largest since the family is what it is; ``folded`` counts windows not told of.

    ``quiet`` counts the version's own windows without a finding, ``others`` those of other versions since its last one,
    which came at ``seen_at``.
    """

    uid: str
    opened_at: float
    face: Face
    last: dict[str, Any]
    quiet: int = 0
    sure: float = 0.0
    share: float | None = None
    folded: int = 0
    seen_at: float = 0.0
    others: int = 0


class IncidentBook:
    """Open incidents by (model, version). All times are event time in seconds.

    An incident is created at the first window with a finding. It is updated at once when its family, hypothesis,
    status, severity or action changes, otherwise at most once in ``update_seconds``: windows that show the same are
    folded into the next message, which counts them. It is closed after ``quiet_windows`` windows without a finding,
    when no event of its version came for ``silent_seconds`` and nothing is being done about it, when its response is
    through, by an operator, and when its model is none of ``models`` any more (None: all are). Its family only ever
    becomes graver.
    """

    def __init__(
        self,
        quiet_windows: int = 20,
        update_seconds: float = 14_400.0,
        silent_seconds: float = 86_400.0,
        dismissed_seconds: float = 259_200.0,
        models: Collection[str] | None = None,
    ) -> None:
        self._quiet_windows = quiet_windows
        self._update_seconds = update_seconds
        self._silent_seconds = silent_seconds
        self._models = models
        self._open: dict[Key, _Open] = {}
        self._shared: dict[Key, str] = {}
        self._closed: dict[str, dict[str, Any]] = {}
        self._hunts: dict[str, str] = {}
        self._dismissed = Dismissed(quiet_windows, dismissed_seconds)

    @property
    def troubled(self) -> frozenset[str]:
        """Models with open incidents."""
        return frozenset(model for model, _ in self._open)

    def open_for(self, model: str) -> int:
        """How many incidents of a model are open."""
        return sum(name == model for name, _ in self._open)

    def message(self, uid: str) -> Incident | None:
        """The last message about an open incident."""
        found = self._find(uid)
        return Incident(**found[1].last) if found else None

    def uid(self, model: str, version: str) -> str | None:
        """The open incident of this version, if any."""
        case = self._open.get((model, version))
        return case.uid if case else self._shared.get((model, version))

    def consider(self, seen: Sighting) -> list[Incident]:
        """The messages that this window gives rise to."""
        key = (seen.model, seen.version)
        gone = self._silent(key, seen.at)
        case = self._open.get(key)
        if case is not None:
            case.seen_at, case.others = seen.at, 0
        if self._dismissed.covers(key, seen, _grade(seen)):
            return gone
        if not seen.finding:
            return gone + self._calm(key, seen)
        if case is None:
            return gone + self._first(key, seen)
        case.quiet = 0
        return gone + self._again(case, seen)

    def acted(self, uid: str, action: ActionTaken, at: float) -> list[Incident]:
        """An update that tells how a response to an incident stands; none where that was told before.

        An incident that is closed is updated as well: what was done about it may come undone. Where its response only
        comes to its end, it stays closed: its last message is said again, with this.
        """
        last = self._last(uid)
        if last is None:
            return []
        told: dict[str, ActionTaken] = {a.key: a for a in last["action"]}
        before = told.get(action.key)
        if before is not None and (before.result, before.target) == (action.result, action.target):
            return []
        actions = list((told | {action.key: action}).values())
        found = self._find(uid)
        last |= {"action": actions, "at": max(last["at"], at), "folded": _unfolded(found[1] if found else None)}
        if last["activity"] != "close" or action.result not in OVER:
            last |= {"activity": "update", "status": "confirmed", "close_reason": "", "closed_by": ""}
        sure = found[1].sure if found else last["family_confidence"]
        last["severity"] = severity(last["family"], "confirmed", sure, last["share"], response_of(actions))
        return [Incident(**last)]

    def hunted(self, uid: str, missed: str, at: float) -> list[Incident]:
        """Tell what a hunt has found; nothing where that was told before, or of an incident that is forgotten.

        One that is closed stays so: its last message is said again, with this. One that is not there yet (after a crash
        its window is judged again) says it when it is created.
        """
        self._hunts.pop(uid, None)
        self._hunts[uid] = missed
        if len(self._hunts) > MOST_CLOSED:
            del self._hunts[next(iter(self._hunts))]
        last = self._last(uid)
        if last is None or last["missed"] == missed:
            return []
        if found := self._find(uid):
            last["folded"] = _unfolded(found[1])
        summary = f"{last['summary'].removesuffix(last['missed']).rstrip()} {missed}"
        last |= {"missed": missed, "summary": summary, "at": max(last["at"], at)}
        if last["activity"] == "create":
            last["activity"] = "update"
        return [Incident(**last)]

    def remedied(self, uid: str, at: float) -> list[Incident]:
        """Close an incident whose response is through; none where it is closed."""
        reason = "the response is through: another version serves, as its events show"
        if found := self._find(uid):
            return [self._close(found[0], "resolved", at, reason)]
        last = self._closed.get(uid)
        if last is None or last["activity"] == "close":
            return []
        return [_ended(last, "resolved", at, reason)]  # it had come undone, and is mended

    def dismiss(self, order: Dismissal) -> list[Incident]:
        """Close an incident as an operator orders; an order is followed once, also over restarts.

        The same finding opens no other incident until it was away for as long as closes one, is another one or graver,
        or has gone on for ``dismissed_seconds`` since. The close repeats the message that the operator saw, so that it
        is the same where an order is followed again because of a crash.
        """
        if not self._dismissed.is_new(order):
            return []
        found = self._find(order.incident.uid)
        if found:
            about = [found[0], *(key for key, uid in self._shared.items() if uid == order.incident.uid)]
            self._dismissed.add(order, about, found[1].face, found[1].last["severity"])
            self._close(found[0], "resolved", order.incident.at, order.reason, order.by)
            return [_closed_by(order)]
        last = self._closed.get(order.incident.uid)
        if last is not None:
            self._dismissed.note(order)
            if last["activity"] == "close":
                return []
            _ended(last, "resolved", order.incident.at, order.reason, order.by)
            return [_closed_by(order)]
        # one that only the published messages know: told before a cold start, or not yet again after a crash
        incident, key = order.incident, (order.incident.model, order.incident.version)
        unknown = [key] if key not in self._open else []  # what is open there by now is another one
        self._dismissed.add(order, unknown, Face(incident.family, incident.hypothesis, ""), incident.severity)
        closed = _closed_by(order)
        self._remember(_fields(closed))
        return [closed]

    def unwatched(self, at: float) -> list[Incident]:
        """Close the incidents of models that are not configured any more."""
        if self._models is None:
            return []
        gone = [key for key in self._open if key[0] not in self._models]
        return [self._close(key, _over(self._open[key]), at, f"model {key[0]} is not watched any more") for key in gone]

    def _find(self, uid: str) -> tuple[Key, _Open] | None:
        return next(((key, case) for key, case in self._open.items() if case.uid == uid), None)

    def _last(self, uid: str) -> dict[str, Any] | None:
        found = self._find(uid)
        return found[1].last if found else self._closed.get(uid)

    def _first(self, key: Key, seen: Sighting) -> list[Incident]:
        """Open an incident, unless another version's is about the same."""
        face = face_of(seen, None)
        if same := self._same_cause(key, face):
            self._shared[key] = same.uid
            same.quiet, same.seen_at, same.others = 0, seen.at, 0
            same.folded += 1
            return []
        self._shared.pop(key, None)
        uid = incident_uid(seen.model, seen.version, seen.window)
        case = self._open[key] = _Open(uid, seen.at, face, {}, seen_at=seen.at)
        return [self._message(case, "create", seen)]

    def _same_cause(self, key: Key, face: Face) -> _Open | None:
        if face.hypothesis not in WORLD:
            return None
        alike = ((name, case.face.family, case.face.hypothesis, case) for (name, _), case in self._open.items())
        return next((case for *what, case in alike if what == [key[0], face.family, face.hypothesis]), None)

    def _again(self, case: _Open, seen: Sighting) -> list[Incident]:
        face = face_of(seen, case.face)
        if face != case.face:
            if face.family != case.face.family:
                case.sure, case.share = 0.0, None
            case.face = face
            return [self._message(case, "update", seen)]
        grave = self._severity(case, seen)
        case.folded += 1
        if grave == case.last["severity"] and seen.at - case.last["at"] < self._update_seconds:
            return []
        case.folded -= 1  # this one is told
        return [self._message(case, "update", seen)]

    def _severity(self, case: _Open, seen: Sighting) -> int:
        """By the largest figures so far; those of a milder finding are about something else."""
        if seen.family == case.face.family:
            case.sure = max(case.sure, seen.verdict.confidence)
            share = touched(seen.evidence, seen.verdict.detectors)
            case.share = max((s for s in (share, case.share) if s is not None), default=None)
        done = response_of(case.last.get("action", ()))
        return severity(case.face.family, case.face.status, case.sure, case.share, done)

    def _message(self, case: _Open, activity: str, seen: Sighting) -> Incident:
        grave = self._severity(case, seen)
        missed = case.last.get("missed") or self._hunts.get(case.uid, "")
        if seen.family == case.face.family:
            fields = fields_of(seen, case.face) | {"action": case.last.get("action", []), "missed": missed}
            fields["summary"] = f"{fields['summary']} {missed}".rstrip()
        else:  # a milder finding says nothing new about what the incident is
            fields = case.last | {"at": seen.at, "window": seen.window}
        fields |= {"uid": case.uid, "opened_at": case.opened_at, "activity": activity, "severity": grave}
        share = None if case.share is None else round(case.share, 6)
        case.last = fields | {"share": share, "folded": _unfolded(case)}
        return Incident(**case.last)

    def _calm(self, key: Key, seen: Sighting) -> list[Incident]:
        self._shared.pop(key, None)
        case = self._open.get(key)
        if case is None:
            return []
        case.quiet += 1
        suspected = case.face.status == "suspected"
        if case.quiet < self._quiet_windows and not suspected:
            return []
        reason = "the suspicion is gone" if suspected else f"{case.quiet} windows without a finding"
        return [self._close(key, _over(case), seen.at, reason)]

    def _silent(self, here: Key, at: float) -> list[Incident]:
        """Close what no window speaks of any more. A pause of everything is no silence: others must have come."""
        for key, case in self._open.items():
            case.others += key != here
        return [
            self._close(key, _over(case), at, self._silence(key)) for key, case in [*self._ended_silently(here, at)]
        ]

    def _ended_silently(self, here: Key, at: float) -> Iterator[tuple[Key, _Open]]:
        for key, case in self._open.items():
            long = at - case.seen_at >= self._silent_seconds and case.others >= self._quiet_windows
            busy = any(action.result in UNDER_WAY for action in case.last["action"])
            if key != here and long and not busy:
                yield key, case

    def _silence(self, key: Key) -> str:
        return f"no events of version {key[1]} came for {self._silent_seconds / 3600:g} hours"

    def _close(self, key: Key, status: str, at: float, reason: str, by: str = "") -> Incident:
        case = self._open.pop(key)
        self._shared = {other: uid for other, uid in self._shared.items() if uid != case.uid}
        closed = _ended(case.last, status, at, reason, by, _unfolded(case))
        self._remember(case.last)
        return closed

    def _remember(self, last: dict[str, Any]) -> None:
        self._closed[last["uid"]] = last
        if len(self._closed) > MOST_CLOSED:
            quiet = [uid for uid, last in self._closed.items() if not last["action"]]
            del self._closed[(quiet or list(self._closed))[0]]

    def state(self) -> State:
        """Open incidents, and closed ones that are remembered, for the checkpoint."""
        return {
            "open": [
                {
                    "model": model,
                    "version": version,
                    "uid": case.uid,
                    "opened_at": case.opened_at,
                    "face": [case.face.family, case.face.hypothesis, case.face.status, case.face.found],
                    "quiet": case.quiet,
                    "last": _plain(case.last),
                    "figures": [case.sure, case.share, case.folded, case.seen_at, case.others],
                }
                for (model, version), case in self._open.items()
            ],
            "shared": [[*key, uid] for key, uid in self._shared.items()],
            "closed": [_plain(last) for last in self._closed.values()],
            "dismissed": self._dismissed.state(),
        }

    def restore(self, state: State) -> None:
        """Take back `state`, also what an older version kept."""
        self._open = {}
        for row in state["open"]:
            last = _fields(msgspec.convert(row["last"], Incident))
            figures = row.get("figures", [last["family_confidence"], None, 0, last["at"], 0])
            case = _Open(row["uid"], row["opened_at"], Face(*row["face"]), last, row["quiet"], *figures)
            self._open[row["model"], row["version"]] = case
        self._shared = {(model, version): uid for model, version, uid in state.get("shared", ())}
        self._closed = {last["uid"]: _fields(msgspec.convert(last, Incident)) for last in state["closed"]}
        self._dismissed.restore(state.get("dismissed", {}))


def _ended(last: dict[str, Any], status: str, at: float, reason: str, by: str = "", folded: int = 0) -> Incident:
    last |= {"activity": "close", "status": status, "at": max(at, last["at"])}
    last |= {"close_reason": reason, "closed_by": by, "folded": folded}
    return Incident(**last)


def _closed_by(order: Dismissal) -> Incident:
    return _ended(_fields(order.incident), "resolved", order.incident.at, order.reason, order.by)


def _grade(seen: Sighting) -> int:
    """The severity that an incident of this window alone would have."""
    share = touched(seen.evidence, seen.verdict.detectors)
    return severity(seen.family, face_of(seen, None).status, seen.verdict.confidence, share, "none")


def _over(case: _Open) -> str:
    return "retracted" if case.face.status == "suspected" else "resolved"


def _unfolded(case: _Open | None) -> int:
    """How many windows the next message stands for besides its own."""
    if case is None:
        return 0
    folded, case.folded = case.folded, 0
    return folded


def _plain(last: dict[str, Any]) -> Any:
    return msgspec.to_builtins(Incident(**last))


def _fields(incident: Incident) -> dict[str, Any]:
    return {name: getattr(incident, name) for name in incident.__struct_fields__}
