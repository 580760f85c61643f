"""The whole chain of an incident, put together from what a state folder holds: from its events to what serves now."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from monitor.response import RETRAININGS
from rollback.audit.extract import concerns
from rollback.audit.log import FILE_NAME, Record, read_while_written
from rollback.registry.moves import check_name
from rollback.registry.registry import Move, Registry
from rollback.response.responder import SHARED
from rollback.response.work import results_of
from rollback.tables.table import read_table

INCIDENTS: Final = "incidents.ndjson"
WINDOWS: Final = "windows.ndjson"
REQUESTS: Final = "vetting.ndjson"
REMOVED: Final = "removed.parquet"
MOST_NAMED: Final = 20
"""Of incidents that a short uid fits."""
MOST_OF_NAME: Final = 64
HUNTS: Final = "hunts"
"""Folder of what `tocsin hunt` has found, below state_dir, one folder an incident."""


class ExplainError(Exception):
    """An incident cannot be explained; the message says what is missing and where."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """``messages`` are the incident's, oldest first; ``windows`` those that it was seen in; ``requests`` for labels.

    ``records`` are the audit log's, ``moves`` the registry's of the versions concerned, ``removed`` training rows by
    screen for each retraining, ``missed`` what a hunt has found, in a sentence (empty: there was none).
    """

    uid: str
    messages: Sequence[dict[str, Any]]
    windows: Sequence[dict[str, Any]]
    requests: Sequence[dict[str, Any]]
    records: Sequence[Record]
    moves: Sequence[Move] = ()
    removed: dict[str, dict[str, int]] = field(default_factory=dict)
    missed: str = ""

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "uid": self.uid,
            "messages": list(self.messages),
            "windows": list(self.windows),
            "requests": list(self.requests),
            "audit": [{"number": r.number, "at": r.at, "kind": r.kind, "body": r.body} for r in self.records],
            "moves": [{name: getattr(m, name) for name in Move.__dataclass_fields__} for m in self.moves],
            "removed": self.removed,
            "missed": self.missed,
        }


def explain(state: Path, uid: str, registry: Callable[[str], Registry] | None = None) -> Explanation:
    """What is known about the incident whose uid begins so. Raises `ExplainError` and `AuditError`.

    ``registry`` opens that of a model; without it nothing is said of versions.
    """
    messages = messages_of(state / INCIDENTS, uid)
    uid = messages[-1]["uid"]
    windows = [line for line in read_lines(state / WINDOWS) if line.get("incident") == uid]
    requests = [line for line in read_lines(state / REQUESTS) if line.get("incident") == uid]
    log = state / FILE_NAME
    records = about(list(read_while_written(log)) if log.exists() else [], uid)
    keys = case_keys(records)
    moves = [] if registry is None else moves_of(registry(messages[-1]["model"]), messages[-1], keys)
    removed = removed_rows(state, keys)
    missed = hunt_summary(state, uid) or messages[-1].get("missed", "")
    return Explanation(uid, messages, windows, requests, records, moves, removed, missed)


def timeline(found: Explanation) -> Iterator[str]:
    """The explanation as lines of text, in the order of time within each part.

    Ids and the like come from events: what is not printable is escaped, and no line is broken.
    """
    return (printable(line) for line in _timeline(found))


def printable(text: str) -> str:
    r"""``text`` with whatever is not printable escaped.

    >>> printable("e7\x1b[2J\u202e\nok")
    'e7\\x1b[2J\\u202e\\nok'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _timeline(found: Explanation) -> Iterator[str]:
    last = found.messages[-1]
    yield f"incident {found.uid}: {last['family']} ({last['hypothesis'] or 'no hypothesis'}), {last['status']}"
    yield f"  model {last['model']}, version {last['version']}; last known good {last['last_known_good']}"
    yield f"  {last['summary']}"
    yield "seen in"
    yield from (f"  {line}" for line in _windows(found.windows))
    yield f"asked: {len(found.requests)} labels"
    yield from (f"  {_time(r['asked_at'])} {r['id']}: {r['why']}" for r in found.requests)
    yield "told"
    for message in found.messages:
        why = f" ({message['close_reason']})" if message.get("close_reason") else ""
        yield f"  {_time(message['at'])} {message['activity']}: {message['family']}, {message['confidence']:.3f}{why}"
    yield "decided and done"
    yield from (f"  {_time(record.at)} #{record.number} {line}" for record in found.records for line in _record(record))
    for key, reasons in found.removed.items():
        yield f"training rows removed by {key}: {sum(reasons.values())}"
        yield from (f"  {count} by {reason}" for reason, count in sorted(reasons.items(), key=lambda r: -r[1]))
    yield f"missed: {found.missed or 'not looked for; tocsin hunt does'}"
    yield "versions"
    for move in found.moves:
        before = f" (before: {move.previous})" if move.previous else ""
        yield f"  {_time(move.at)} {move.action} {move.version}{before} by {move.by}: {move.reason}"


def _windows(windows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for window in windows:
        fired = [
            f"{name} (e-value {record['e_value']:.3g})" if record.get("e_value") else name
            for name, record in window["detectors"].items()
            if record["status"] == "fired"
        ]
        verdict = window["verdict"]
        said = f"window {window['index']}, events {window['first_id']} to {window['last_id']}: {verdict['family']}"
        places = ", ".join(f"{p['topic']}/{p['partition']} {p['first']}-{p['last']}" for p in window["offsets"])
        sure = "-" if verdict["confidence"] is None else f"{verdict['confidence']:.3f}"
        yield f"{said}, {sure}; fired: {', '.join(fired) or 'none'}; {places or 'no offsets'}"


def _record(record: Record) -> Iterator[str]:
    body = record.body
    held = body.get("case")
    case = held if isinstance(held, dict) else {}
    about = body.get("key") or case.get("key", "")
    said = (case.get("detail"), body.get("reason"), body.get("why"), case.get("reason"), body.get("summary"))
    detail = next(filter(None, said), "")
    event = body.get("event") or body.get("phase") or case.get("phase", "")
    yield f"{record.kind} {about}: {event}" + (f" ({detail})" if detail else "")


def messages_of(path: Path, uid: str) -> list[dict[str, Any]]:
    """The messages about the one incident whose uid begins so, oldest first. Raises `ExplainError`."""
    found = [line for line in read_lines(path) if uid and str(line.get("uid", "")).startswith(uid)]
    names = sorted({str(line["uid"]) for line in found})
    if len(names) != 1:
        more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
        known = printable(", ".join(name[:MOST_OF_NAME] for name in names[:MOST_NAMED])) + more or "none"
        raise ExplainError(f"{path}: {uid!r} must name one incident; it fits: {known} (tocsin incidents list)")
    return found


def about(every: Sequence[Record], uid: str) -> list[Record]:
    """The records about the incident, and about the one whose cases are its own."""
    names = {uid, *(r.body["with"] for r in every if r.kind == SHARED and r.body["incident"] == uid)}
    return [record for record in every if any(concerns(record, name) for name in names)]


def case_keys(records: Sequence[Record]) -> list[str]:
    """The cases that these records are about."""
    return list(dict.fromkeys(r.body["case"]["key"] for r in records if isinstance(r.body.get("case"), dict)))


def moves_of(registry: Registry, last: dict[str, Any], keys: Sequence[str]) -> list[Move]:
    """Those of the versions that the incident names, and those that its cases made."""
    named = {last["version"], last.get("last_known_good"), last.get("first_poisoned")}
    named |= {action["target"] for action in last["action"]}
    return [m for m in registry.history() if m.version in named or any(f"[{key}]" in m.reason for key in keys)]


def hunt_summary(state: Path, uid: str) -> str:
    """What a hunt has found, empty where there was none. Raises `ExplainError`."""
    path = state / HUNTS / check_name(uid, "incident") / "summary.json"
    if not path.exists():
        return ""
    try:
        return str(json.loads(path.read_bytes())["summary"])
    except (ValueError, KeyError, TypeError) as error:
        raise ExplainError(f"{path}: is no summary of a hunt: {error!r}") from error


def removed_rows(state: Path, keys: Sequence[str]) -> dict[str, dict[str, int]]:
    """Training rows that the retrainings among these cases took out, by screen."""
    places = {key: state / RETRAININGS / results_of(key) / REMOVED for key in keys}
    return {key: found for key, path in places.items() if (found := _screens(path))}


def _screens(path: Path) -> dict[str, int]:
    if not path.exists():
        return {}
    return dict(Counter(read_table(path, text=["id", "reason", "screen"]).strings("screen").tolist()))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file, none where there is no file; a last one that is being written is not there yet."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ExplainError(f"{path}: line {number}: is no JSON: {error}") from error
            if not isinstance(found, dict):
                raise ExplainError(f"{path}: line {number}: is no JSON object")
            yield found


def _time(at: float | str) -> str:
    if isinstance(at, str):
        return at
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
