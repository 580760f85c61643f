"""The life of an incident: one uid from create through update to close, whatever its family becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from detectors.evidence import Evidence, State
from detectors.fusion.wording import summary
from detectors.verdict import GRAVITY, Verdict
from monitor.figures import figure, plain
from monitor.messages import ActionTaken, Alternative, EvidenceItem, ImplicatedItem, Incident, TopItem, WindowItem

SEVERITY: Final = {"poisoning": 9, "evasion": 8, "fault": 6, "inconclusive": 5, "drift": 3}
SUSPECTED_SEVERITY: Final = 2
"""Labels are being asked for: nobody is to be woken by it."""
TENTATIVE_SEVERITY: Final = 5
"""At most, for what rests on a shadow model."""

ATLAS: Final[Mapping[str, tuple[str, ...]]] = {
    "label_flip": ("AML.T0020", "AML.T0059"),
    "feedback_compromise": ("AML.T0020", "AML.T0059", "AML.T0012"),
    "backdoor": ("AML.T0020", "AML.T0018.000", "AML.T0043.004", "AML.T0015"),
    "clean_label": ("AML.T0020",),
    "model_tampering": ("AML.T0018", "AML.T0010.003"),
    "evasion_burst": ("AML.T0043", "AML.T0015", "AML.T0042"),
    "probing": ("AML.T0043", "AML.T0042"),
}
"""MITRE ATLAS techniques (data 5.6) by hypothesis."""

ADVICE: Final = {
    "poisoning": "Roll back to version {lkg} and retrain on sanitised data.",
    "evasion": "Label the listed events and add the missed attacks to the training data; the model is unchanged.",
    "fault": "Check the sensors and the feature pipeline before anything else; the model itself is not suspected.",
    "drift": "Nothing is rolled back; plan a retraining on trusted labels.",
    "inconclusive": "Be careful with the model until this is decided.",
}
TENTATIVE_ADVICE: Final = (
    "Nothing is rolled back by itself; have the listed events looked at, and vouch for a version "
    "(tocsin registry promote --known-good) or retrain on vetted data."
)
REGRESSED: Final = "Go back to version {lkg}, and retrain with the rows that were missing; nobody is accused."
UNTAINTED: Final = "Version {lkg} was made before: keep what is implicated out of its next training."
MOST_EVENTS: Final = 100
MOST_CLOSED: Final = 50
"""Closed incidents are remembered, so that it can be told when a response comes undone, and what a hunt has found.

Those without any response are forgotten first."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One judged window, as far as incidents are concerned. ``at`` is event time in seconds."""

    model: str
    version: str
    last_known_good: str | None
    at: float
    window: WindowItem
    verdict: Verdict
    evidence: Sequence[Evidence]
    asking: bool
    first_poisoned: str | None = None


@dataclass(frozen=True, slots=True)
class _Face:
    """What an update must differ in to be worth sending."""

    family: str
    hypothesis: str | None
    status: str
    found: bool = True
    """Whether there was more than a question: the first message about one may come before there is anything to say."""


@dataclass(slots=True)
class _Open:
    uid: str
    opened_at: float
    face: _Face
    quiet: int
    last: dict[str, Any]


class IncidentBook:
    """Open incidents by (model, version).

    An incident is created at the first window with a finding, updated when its family, hypothesis or status changes,
    and closed after ``quiet_windows`` windows without any. Its family only ever becomes graver.
    """

    def __init__(self, quiet_windows: int = 20) -> None:
        self._quiet_windows = quiet_windows
        self._open: dict[tuple[str, str], _Open] = {}
        self._closed: dict[str, dict[str, Any]] = {}
        self._hunts: dict[str, str] = {}

    def open_for(self, model: str) -> int:
        """How many incidents of a model are open."""
        return sum(name == model for name, _ in self._open)

    def message(self, uid: str) -> Incident | None:
        """The last message about an open incident."""
        return next((Incident(**case.last) for case in self._open.values() if case.uid == uid), None)

    def uid(self, model: str, version: str) -> str | None:
        """The open incident of this version, if any."""
        case = self._open.get((model, version))
        return case.uid if case else None

    def consider(self, seen: Sighting) -> list[Incident]:
        """The messages that this window gives rise to: none or one."""
        key = (seen.model, seen.version)
        case = self._open.get(key)
        finding = seen.verdict.family != "stable" or seen.asking
        if not finding:
            return self._calm(key, seen)
        face = _face(seen, case.face if case else None)
        if case is None:
            uid = incident_uid(seen.model, seen.version, seen.window)
            case = self._open[key] = _Open(uid, seen.at, face, 0, {})
            return [self._message(case, "create", seen)]
        case.quiet = 0
        if face == case.face:
            return []
        case.face = face
        return [self._message(case, "update", seen)]

    def acted(self, uid: str, action: ActionTaken, at: float) -> list[Incident]:
        """An update that tells how a response to an incident stands; none where that was told before.

        An incident that is closed is updated as well: what was done about it may come undone.
        """
        last = self._last(uid)
        if last is None:
            return []
        told: dict[str, ActionTaken] = {a.key: a for a in last["action"]}
        before = told.get(action.key)
        if before is not None and (before.result, before.target) == (action.result, action.target):
            return []
        actions = list((told | {action.key: action}).values())
        last |= {"action": actions, "activity": "update", "at": max(last["at"], at), "status": "confirmed"}
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
        summary = f"{last['summary'].removesuffix(last['missed']).rstrip()} {missed}"
        last |= {"missed": missed, "summary": summary, "at": max(last["at"], at)}
        if last["activity"] == "create":
            last["activity"] = "update"
        return [Incident(**last)]

    def remedied(self, uid: str, at: float) -> list[Incident]:
        """Close an incident whose response is through; none where it is closed."""
        for key, case in self._open.items():
            if case.uid == uid:
                return [self._close(key, "resolved", at)]
        last = self._closed.get(uid)
        if last is None or last["activity"] == "close":
            return []
        last |= {"activity": "close", "status": "resolved", "at": at}  # it had come undone, and is mended
        return [Incident(**last)]

    def _last(self, uid: str) -> dict[str, Any] | None:
        for case in self._open.values():
            if case.uid == uid:
                return case.last
        return self._closed.get(uid)

    def _close(self, key: tuple[str, str], status: str, at: float) -> Incident:
        case = self._open.pop(key)
        case.last |= {"activity": "close", "status": status, "at": at}
        self._closed[case.uid] = case.last
        if len(self._closed) > MOST_CLOSED:
            quiet = [uid for uid, last in self._closed.items() if not last["action"]]
            del self._closed[(quiet or list(self._closed))[0]]
        return Incident(**case.last)

    def _calm(self, key: tuple[str, str], seen: Sighting) -> list[Incident]:
        case = self._open.get(key)
        if case is None:
            return []
        case.quiet += 1
        suspected = case.face.status == "suspected"
        if case.quiet < self._quiet_windows and not suspected:
            return []
        return [self._close(key, "retracted" if suspected else "resolved", seen.at)]

    def _message(self, case: _Open, activity: str, seen: Sighting) -> Incident:
        missed = case.last.get("missed") or self._hunts.get(case.uid, "")
        fields = _fields(case, seen)
        kept = {"action": case.last.get("action", []), "missed": missed}
        case.last = fields | kept | {"activity": activity, "summary": f"{fields['summary']} {missed}".rstrip()}
        return Incident(**case.last)

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
                }
                for (model, version), case in self._open.items()
            ],
            "closed": [_plain(last) for last in self._closed.values()],
        }

    def restore(self, state: State) -> None:
        """Take back `state`."""
        self._open = {}
        for row in state["open"]:
            face = _Face(*row["face"])
            case = _Open(row["uid"], row["opened_at"], face, row["quiet"], _typed(row["last"]))
            self._open[row["model"], row["version"]] = case
        self._closed = {last["uid"]: last for last in map(_typed, state["closed"])}


def _plain(last: dict[str, Any]) -> Any:
    return msgspec.to_builtins(Incident(**last))


def _typed(plain: Any) -> dict[str, Any]:
    incident = msgspec.convert(plain, Incident)
    return {name: getattr(incident, name) for name in incident.__struct_fields__}


def incident_uid(model: str, version: str, window: WindowItem) -> str:
    """The same for the same model, version and first window, in a replay as in the live run."""
    text = "\0".join([model, version, str(window.index), window.first_id])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _face(seen: Sighting, before: _Face | None) -> _Face:
    verdict = seen.verdict
    family = verdict.family if verdict.family != "stable" else "inconclusive"
    waiting = seen.asking and family == "inconclusive"
    status = "suspected" if waiting or verdict.tentative else "confirmed"
    found = verdict.family != "stable" or (before is not None and before.found)
    face = _Face(family, verdict.hypothesis, status, found)
    if before is not None and GRAVITY.index(before.family) < GRAVITY.index(family):
        return before
    if before is not None and verdict.tentative and (before.family, before.status) == (family, "confirmed"):
        return before
    return face


def _fields(case: _Open, seen: Sighting) -> dict[str, Any]:
    verdict, face = seen.verdict, case.face
    return {
        "uid": case.uid,
        "status": face.status,
        "model": seen.model,
        "version": seen.version,
        "last_known_good": seen.last_known_good,
        "opened_at": case.opened_at,
        "at": seen.at,
        "window": seen.window,
        "family": face.family,
        "hypothesis": face.hypothesis,
        "confidence": round(hypothesis_confidence(verdict), 6),
        "family_confidence": round(verdict.confidence, 6),
        "alternatives": [Alternative(name, round(p, 6)) for name, p in verdict.alternatives],
        "evidence": [evidence_item(e) for e in seen.evidence],
        "implicated": _implicated(verdict),
        "severity": _severity(face),
        "atlas": list(ATLAS.get(face.hypothesis or "", ())),
        "level": verdict.level,
        "weaker": list(verdict.weaker),
        "decider": verdict.decider,
        "also": dict(verdict.also),
        "first_poisoned": seen.first_poisoned,
        "summary": summary(verdict, _advice(face.family, seen)),
    }


def _severity(face: _Face) -> int:
    """Labels that are being asked for wake nobody; a suspicion that no label can settle is worth a look."""
    if face.status == "confirmed":
        return SEVERITY[face.family]
    return SUSPECTED_SEVERITY if face.family == "inconclusive" else min(SEVERITY[face.family], TENTATIVE_SEVERITY)


def _advice(family: str, seen: Sighting) -> str:
    """What to do; a last known good version is not poisoned itself, what is to become of it may be.

    Where a shadow model compared, the last known good version is the suspect: nobody has vouched for it.
    """
    if seen.verdict.tentative:
        return TENTATIVE_ADVICE
    if seen.verdict.hypothesis == "regression":
        return REGRESSED.format(lkg=seen.last_known_good or "none")
    if family == "poisoning" and seen.version == seen.last_known_good:
        return UNTAINTED.format(lkg=seen.last_known_good)
    return ADVICE[family].format(lkg=seen.last_known_good or "none")


def hypothesis_confidence(verdict: Verdict) -> float:
    """Probability of the verdict's hypothesis; of the family where it names none."""
    return verdict.attribution[0][1] if verdict.hypothesis and verdict.attribution else verdict.confidence


def evidence_item(e: Evidence) -> EvidenceItem:
    """A detector's evidence as published."""
    top = [TopItem(c.name, figure(c.contribution)) for c in e.top]
    e_value = None if e.e_value is None else figure(e.e_value)
    return EvidenceItem(e.detector, e.status, figure(e.score), figure(e.threshold), e_value, top)


def _implicated(verdict: Verdict) -> ImplicatedItem:
    found = verdict.implicated
    return ImplicatedItem(
        plain(found.features),
        list(found.sources),
        list(found.origins),
        list(found.labels),
        list(found.events[:MOST_EVENTS]),
    )
