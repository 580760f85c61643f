"""Whether a sink is told of a message now, later or never, by its routes and by what it was told before."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import msgspec
import structlog

from monitor.alerts.alert import IncidentMessage, digest_of
from monitor.alerts.ledger import Ledger, Row
from monitor.alerts.routes import Placement

log = structlog.get_logger()

Answer: TypeAlias = Literal["send", "hold", "pass", "muted"]
"""`pass`: it is not for this sink. `muted`: it came and went while the sink was muted."""
Place: TypeAlias = Callable[[IncidentMessage, float], Placement | None]

NEVER: Final = ""
"""An id that no alert on the disk has."""
RETRY_SECONDS: Final = 60.0
"""How long after the spool had no room for it a message that was held back is tried again."""


@dataclass(frozen=True, slots=True)
class Decision:
    """``row`` is what is known from then on, None where nothing is kept; ``folded`` windows are told with it."""

    answer: Answer
    row: Row | None
    folded: int = 0


def decide(message: IncidentMessage, line: bytes, place: Placement | None, row: Row | None, now: float) -> Decision:
    """What becomes of a message; ``row`` is what the sink knows of its incident.

    Who was told of an incident is told its end, whatever its routes say by then. What is muted or too soon waits, and
    only the newest of it; where that is the end of what was never told, nothing is.
    """
    known = row or Row(message.head.uid)
    over = message.head.activity == "close"
    told = known.told_at is not None
    muted_until = None if place is None else place.muted_until
    if over and not told and (known.held is not None or muted_until is not None):
        return Decision("muted", None)
    if place is None:
        if over and told:
            return _send(message, known, now)
        return Decision("pass", None if over else row)
    if muted_until is not None:
        return _hold(message, line, known, muted_until)
    changed = not told or face_of(message) != known.face
    # a clock that was put back: nobody can say how long ago that was
    soon = 0 <= now - (known.told_at or 0.0) < place.update_seconds
    if over or changed or not soon:
        return _send(message, known, now)
    return _hold(message, line, known, (known.told_at or 0.0) + place.update_seconds)


def face_of(message: IncidentMessage) -> str:
    """What a message must differ in to be told at once."""
    head, fields = message.head, message.fields
    acts = [(act.get("key"), act.get("result"), act.get("target")) for act in fields.get("action", ())]
    return digest_of(
        msgspec.json.encode([head.family, fields.get("hypothesis"), head.status, head.severity, acts])
    ).hex()


def _send(message: IncidentMessage, known: Row, now: float) -> Decision:
    folded = known.folded + (known.weight if known.held is not None else 0)
    if message.head.activity == "close":
        return Decision("send", None, folded)
    return Decision("send", Row(known.uid, now, face_of(message)), folded)


def _hold(message: IncidentMessage, line: bytes, known: Row, until: float) -> Decision:
    replaced = known.weight if known.held is not None else 0
    weight = 1 + int(message.fields.get("folded", 0))
    row = replace(known, held=line, due=until, weight=weight, folded=known.folded + replaced)
    return Decision("hold", row)


class Admission:
    """Keeps the decisions of one batch until it is known which of its alerts are on the disk, and then in ``ledger``.

    ``place`` says how the sink gets a message at a time (seconds since the epoch), None where it does not.
    """

    def __init__(self, place: Place, ledger: Ledger) -> None:
        self._place = place
        self._ledger = ledger
        self._rows: dict[str, Row | None] = {}
        self._sent: dict[str, set[str]] = {}
        self._released: dict[str, Row] = {}

    def incidents(self) -> set[str]:
        """Those of which something is held back, or was told, and of which the sink knows no end."""
        try:
            return set(self._ledger.uids())
        except sqlite3.Error as error:
            log.warning("what a sink was told cannot be read: it may not be told an end", reason=str(error))
            return set()

    def due(self, now: float, newer: Collection[str] = ()) -> list[bytes]:
        """The lines that were held back until now; each of them is to be admitted again.

        Not those of incidents of which ``newer`` messages come next: these stand for what was held back. Nor those of
        which the ledger does not know yet what became of them: it could not be written.
        """
        rows = [row for row in self._due(now) if row.uid not in self._rows and row.uid not in newer]
        for row in rows:
            self._released[row.uid] = row
            self._rows[row.uid] = replace(row, held=None, due=None, weight=0)
        return [row.held for row in rows if row.held is not None]

    def admit(self, message: IncidentMessage, line: bytes, now: float) -> tuple[Answer, int]:
        """What becomes of it, and how many windows that were held back it stands for."""
        uid = message.head.uid
        row = self._rows[uid] if uid in self._rows else self._known(uid)
        decision = decide(message, line, self._place(message, now), row, now)
        if decision.answer != "pass" or decision.row != row:
            self._rows[uid] = decision.row
        if decision.answer == "send":
            self._sent.setdefault(uid, set()).add(message.id)
        return decision.answer, decision.folded

    def withdrawn(self, message: IncidentMessage) -> None:
        """It was admitted, and is not sent for another reason: it counts as never having come."""
        self._sent.setdefault(message.head.uid, set()).add(NEVER)

    def settle(self, kept: Collection[str], now: float) -> None:
        """The alerts with these ids are on the disk. After a `sqlite3.Error` it is tried again the next time."""
        lost = {uid for uid, ids in self._sent.items() if not ids <= set(kept)}
        again = [replace(self._released[uid], due=now + RETRY_SECONDS) for uid in lost if uid in self._released]
        rows = [row for uid, row in self._rows.items() if row is not None and uid not in lost]
        gone = [uid for uid, row in self._rows.items() if row is None and uid not in lost]
        self._rows = {row.uid: row for row in (*rows, *again)} | dict.fromkeys(gone)
        self._sent, self._released = {}, {}
        if self._rows:
            self._ledger.write([*rows, *again], gone, now)
            self._rows = {}

    def _due(self, now: float) -> list[Row]:
        try:
            return self._ledger.due(now)
        except sqlite3.Error as error:
            log.warning("what is held back cannot be read: it is told after a restart", reason=str(error))
            return []

    def _known(self, uid: str) -> Row | None:
        """Nothing where the disk fails: an alert that comes too soon is better than none."""
        try:
            return self._ledger.get(uid)
        except sqlite3.Error as error:
            log.warning("what a sink was told cannot be read: it may be told too often", reason=str(error))
            return None
