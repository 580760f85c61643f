"""What happened and what was done, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import Any, Final

from monitor.audited import DISMISSED, HUNT
from monitor.report.material import Material
from monitor.report.words import name_of, percent
from rollback.audit.log import Record

MOVES: Final = {
    "add": "was added to the registry",
    "assume": "serves, and is assumed to be good",
    "promote": "serves",
    "known-good": "is the last known good version",
    "rollback": "serves again",
    "quarantine": "was put in quarantine",
    "release": "was let out of quarantine",
    "remove": "was removed from the registry",
}
"""What a move in the registry means."""
LATEST: Final = 253_402_300_799.0
"""The end of the year 9999, in seconds since the epoch: no clock shows more."""
WHOLE: Final = frozenset({"plan", "answer", "sighting", "held", DISMISSED, HUNT})
"""Kinds of records that each stand in the time line; of outcomes only those that end something do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the time line. ``at`` in seconds since the epoch; ``kind`` is `seen`, `told`, `asked` or `done`.

    ``after`` is where it stands, unless 0: a clock that was ahead does not put it behind what is known to follow it.
    """

    at: float
    kind: str
    what: str
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """One record of the audit log, in words, with the hash that proves it."""

    number: int
    at: float
    what: str
    outcome: str
    hash: str


def timeline(found: Material) -> list[Entry]:
    """Everything that is dated, oldest first."""
    entries = [*_versions(found), *_seen(found), *_told(found), *_asked(found), *_acted(found)]
    short = (replace(entry, what=entry.what.replace(found.uid, found.uid[:8])) for entry in entries)
    return sorted(short, key=lambda entry: entry.after or entry.at)


def _versions(found: Material) -> Iterator[Entry]:
    """Moves in the registry's own order, which its signed history proves; their times are of whoever made them."""
    latest = list(accumulate((move.at for move in reversed(found.moves)), min))[::-1]
    for move, after in zip(found.moves, latest, strict=True):
        done = MOVES.get(move.action, move.action)
        before = f", instead of {move.previous}" if move.previous not in (None, "", move.version) else ""
        said = f"Version {move.version} {done}{'' if move.action == 'add' else before}, by {move.by}: {move.reason}"
        ahead = " (its clock was ahead of what followed)" if move.at > after else ""
        yield Entry(move.at, "done", said + ahead, after)


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
            what = "likeliest explanation" if message.family == "inconclusive" else "confidence"
            said = f"{told} as {named}, {message.status}, {what} {percent(message.confidence)}"
            yield Entry(message.at, "told", f"{said}{by}{why}")
        before = now


def _asked(found: Material) -> Iterator[Entry]:
    dated = [(float(r["asked_at"]), str(r.get("why", ""))) for r in found.requests if _is_time(r.get("asked_at"))]
    for (at, why), asked in groupby(sorted(dated)):
        count = len(list(asked))
        labels = "1 label" if count == 1 else f"{count:,} labels"
        yield Entry(at, "asked", f"{labels} asked of trusted labellers: {why}")


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0.0 <= value <= LATEST


def _acted(found: Material) -> Iterator[Entry]:
    """Plans, people's answers, what was seen, and what ended or went wrong: single steps are in the audit's table."""
    for record in found.audit.records:
        case = _case(record)
        ended = case.get("phase") in {"done", "made", "halted", "rejected", "withdrawn", "declined"}
        if record.kind in WHOLE or (record.kind == "outcome" and ended):
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
    elif record.kind == DISMISSED:
        what = f"closed by hand, ordered by {body.get('by', 'nobody')}"
    elif record.kind == HUNT:
        what, outcome = "hunt for what was missed", str(body.get("summary") or outcome)
    return Done(record.number, record.at, what.strip(), outcome, record.hash)


def _case(record: Record) -> dict[str, Any]:
    held = record.body.get("case")
    return held if isinstance(held, dict) else {}
