"""What happened and what was done, in the order of time, and what is left to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from monitor.report.material import Material
from monitor.report.words import moment, name_of
from rollback.audit.log import Record


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the time line. ``at`` in seconds since the epoch; ``kind`` is `seen`, `told`, `asked` or `done`."""

    at: float
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Done:
    """One record of the audit log, in words, with the hash that proves it."""

    number: int
    at: float
    what: str
    outcome: str
    hash: str


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do; ``command`` is empty where no command does it."""

    what: str
    command: str = ""


def timeline(found: Material) -> list[Entry]:
    """Everything that is dated, oldest first."""
    entries = [*_versions(found), *_seen(found), *_told(found), *_asked(found), *_acted(found)]
    short = (replace(entry, what=entry.what.replace(found.uid, found.uid[:8])) for entry in entries)
    return sorted(short, key=lambda entry: entry.at)


def _versions(found: Material) -> Iterator[Entry]:
    for move in found.moves:
        before = f", instead of {move.previous}" if move.previous and move.previous != move.version else ""
        yield Entry(move.at, "done", f"Version {move.version}: {move.action}{before}, by {move.by}: {move.reason}")


def _seen(found: Material) -> Iterator[Entry]:
    """A window of the incident whenever the verdict becomes another one."""
    before = None
    for window in found.around.own:
        now = (window.verdict.family, window.verdict.hypothesis)
        if now != before:
            fired = ", ".join(window.fired()) or "none"
            said = f"Window {window.index} of version {window.version}, {window.events} events: {name_of(*now)}"
            yield Entry(window.at, "seen", f"{said}; detectors that fired: {fired}")
        before = now


def _told(found: Material) -> Iterator[Entry]:
    before = None
    for message in found.messages:
        now = (message.activity == "close", message.family, message.hypothesis, message.status)
        if now != before:
            named = name_of(message.family, message.hypothesis)
            told = {"create": "Incident opened", "close": "Incident closed"}.get(message.activity, "Incident updated")
            why = f": {message.close_reason}" if message.close_reason else ""
            by = f", by {message.closed_by}" if message.closed_by else ""
            said = f"{told} as {named}, {message.status}, confidence {message.confidence:.0%}"
            yield Entry(message.at, "told", f"{said}{by}{why}")
        before = now


def _asked(found: Material) -> Iterator[Entry]:
    dated = [r for r in found.requests if isinstance(r.get("asked_at"), (int, float))]
    for at, group in groupby(sorted(dated, key=lambda r: r["asked_at"]), key=lambda r: r["asked_at"]):
        asked = list(group)
        yield Entry(float(at), "asked", f"{len(asked)} labels asked of trusted labellers: {asked[0].get('why', '')}")


def _acted(found: Material) -> Iterator[Entry]:
    """Plans, people's answers, what was seen, and what ended or went wrong: single steps are in the audit's table."""
    for record in found.audit.records:
        case = _case(record)
        ended = case.get("phase") in {"done", "made", "halted", "rejected", "withdrawn", "declined"}
        if record.kind in {"plan", "answer", "sighting"} or (record.kind == "outcome" and ended):
            each = done(record)
            yield Entry(record.at, "done", each.what + (f": {each.outcome}" if each.outcome else ""))


def done(record: Record) -> Done:
    """A record of the audit log in words."""
    body, case = record.body, _case(record)
    kind = str(case.get("kind") or "".join(str(body.get("key", "")).split("/")[1:2]))
    what, outcome = record.kind, str(case.get("detail") or body.get("reason") or body.get("why") or "")
    if record.kind == "plan":
        what = f"{kind} planned"
        outcome = "; ".join(text for text in (str(case.get("reason") or ""), outcome) if text)
    elif record.kind == "intent":
        what = f"{kind}: {body.get('phase', '')} begins"
    elif record.kind == "outcome":
        what = f"{kind}: {body.get('step', '')}: {body.get('event', '')}"
    elif record.kind == "answer":
        said = f"{body.get('event', '')} by {body.get('by', 'nobody')}"
        what, outcome = f"{kind}: {said}", outcome.removeprefix(said).removeprefix(": ")
    elif record.kind == "sighting":
        what = f"{kind}: seen in the stream"
    return Done(record.number, record.at, what.strip(), outcome, record.hash)


def _case(record: Record) -> dict[str, Any]:
    held = record.body.get("case")
    return held if isinstance(held, dict) else {}


def steps(found: Material, config: str) -> list[Step]:
    """What a person should do next, the most urgent first; ``config`` is the daemon's file, empty if not known."""
    given = f"--config {shlex.quote(config)}" if config else "--config tocsin.yaml"
    last, uid = found.last, shlex.quote(found.uid)
    return [
        *_about_audit(found),
        *_about_actions(found, given),
        *([Step(f"What would decide it: {last.decider}.")] if last.decider else []),
        *_about_labels(found, given),
        *_about_missed(found, uid, given),
        *_about_end(found, uid, given),
    ]


def _about_audit(found: Material) -> Iterator[Step]:
    if found.audit.state == "broken":
        state = shlex.quote(str(found.state))
        yield Step(
            "The audit log is not what was written. Keep a copy of the folder, find out who could write there, and "
            "trust nothing in this report that rests on it.",
            f"tocsin audit verify {state}",
        )


def _about_actions(found: Material, given: str) -> Iterator[Step]:
    for action in found.last.action:
        key = shlex.quote(action.key)
        if action.result == "proposed":
            yield Step(
                f"Decide about the {action.action} to version {action.target}: approve or decline it.",
                f"tocsin response approve {given} {key}",
            )
        elif action.result == "halted":
            yield Step(
                f"The {action.action} is halted: {action.detail}. Mend that, then let it go on.",
                f"tocsin response again {given} {key}",
            )
        elif action.result == "running":
            yield Step(f"The {action.action} is under way: {action.detail or 'nothing to do'}.")


def _about_labels(found: Material, given: str) -> Iterator[Step]:
    if found.requests and found.last.activity != "close":
        yield Step("Answer the open requests for labels, if there are any left.", f"tocsin vet list {given}")


def _about_missed(found: Material, uid: str, given: str) -> Iterator[Step]:
    if found.last.family == "poisoning" and not found.missed:
        which = f"--registry REGISTRY --name {shlex.quote(found.last.model)} --incident {uid}"
        yield Step(
            "Find out what the poisoned version let pass while it served: events of that time, decided again.",
            f"tocsin hunt {given} {which} --events EVENTS.ndjson",
        )


def _about_end(found: Material, uid: str, given: str) -> Iterator[Step]:
    last = found.last
    if last.activity == "close":
        yield Step(f"The incident is closed ({last.status}); {moment(last.at)} UTC. Keep this page with the case.")
    elif not last.action:
        yield Step("Nothing has been done by Tocsin. The summary above says what to do.")
        yield Step("Close it by hand when it is over.", f'tocsin incidents close {uid} {given} --reason "..."')
