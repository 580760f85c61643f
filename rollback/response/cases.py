"""A case is one thing that is done about an incident; a table says what follows from what.

A rollback and a promotion move the ``serving`` pointer and then see to it that every endpoint serves it::

    approval -> verify -> swap -> reload -> confirm -> done -> served
                                    ^---------^          (not confirmed, or an old version is seen: told again)

A retraining has one step: train -> made. A person may have a finished one done again, after deciding about rows
that were held back. Whatever fails for good or too often is ``halted`` until a person answers;
what nothing was done for yet is ``withdrawn`` when its reason is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

Kind = Literal["rollback", "retraining", "promotion"]
Phase = Literal[
    "approval",
    "verify",
    "swap",
    "reload",
    "confirm",
    "done",
    "served",
    "train",
    "made",
    "halted",
    "declined",
    "withdrawn",
    "rejected",
]
Event = Literal[
    "approve", "decline", "again", "withdraw", "ok", "retry", "doubted", "refused", "rejected", "stale", "seen"
]

ACTS: Final[frozenset[Phase]] = frozenset({"swap", "reload", "train"})
"""Phases that change something outside: each has an intent in the audit log before it and an outcome after it."""
WORKING: Final[frozenset[Phase]] = ACTS | {"verify", "confirm"}
"""Phases in which something is to be done by us."""
TABLE: Final[Mapping[tuple[Phase, Event], Phase]] = {
    ("approval", "approve"): "verify",
    ("approval", "decline"): "declined",
    ("approval", "withdraw"): "withdrawn",
    ("verify", "approve"): "verify",
    ("verify", "decline"): "declined",
    ("verify", "withdraw"): "withdrawn",
    ("verify", "ok"): "swap",
    ("verify", "retry"): "verify",
    ("verify", "refused"): "halted",
    ("swap", "ok"): "reload",
    ("swap", "retry"): "swap",
    ("swap", "refused"): "halted",
    ("reload", "ok"): "confirm",
    ("reload", "retry"): "reload",
    ("reload", "refused"): "halted",
    ("confirm", "ok"): "done",
    ("confirm", "retry"): "confirm",
    ("confirm", "refused"): "halted",
    ("done", "seen"): "served",
    ("done", "stale"): "reload",
    ("served", "stale"): "reload",
    ("train", "ok"): "made",
    ("train", "doubted"): "made",
    ("train", "retry"): "train",
    ("train", "rejected"): "rejected",
    ("train", "refused"): "halted",
    ("made", "again"): "train",
    ("rejected", "again"): "train",
    ("halted", "again"): "verify",
    ("halted", "decline"): "declined",
}
"""What a case does next. An event that is not here for its phase means nothing to it."""


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a step is tried, what lies between two tries, and how often a move is done over.

    The wait doubles with every try: ``retry_seconds``, twice that, and so on, at most ``longest_seconds``. A training
    that ends without an answer is begun ``trainings`` times.
    """

    attempts: int = 6
    trainings: int = 2
    retry_seconds: float = 5.0
    longest_seconds: float = 300.0
    reopens: int = 3

    def __post_init__(self) -> None:
        if min(self.attempts, self.trainings, self.reopens) < 1 or not 0 < self.retry_seconds <= self.longest_seconds:
            raise ValueError(f"every number must be 1 at least, and 0 < retry_seconds <= longest_seconds: {self}")


@dataclass(frozen=True, slots=True)
class Case:
    """What is being done. ``key`` names it for good: the same decision never opens a second case.

    A move makes ``target`` serve instead of ``expected``; a retraining replaces ``expected``, its ``target`` is the
    candidate once there is one. ``attempt`` counts the failures in a row, ``reopened`` how often an old version was
    seen after all was done. ``since`` is when the phase began, ``due`` when its step may be begun (seconds since the
    epoch). ``doubted``: what follows is for a person to decide, whatever the settings say. ``approved``: as many people
    have approved it as must; ``approved_by`` are those who have since it began to wait, and ``answered`` says
    when each person's last signed answer was given: none counts twice. ``detail`` says why the case stands where it
    stands, ``message`` is the incident as it was published.
    """

    key: str
    kind: Kind
    incident: str
    model: str
    expected: str
    target: str
    reason: str
    phase: Phase
    since: float
    due: float = 0.0
    attempt: int = 0
    reopened: int = 0
    known_good: bool = False
    doubted: bool = False
    approved: bool = False
    approved_by: tuple[str, ...] = ()
    answered: tuple[tuple[str, float], ...] = ()
    detail: str = ""
    message: str = ""

    @property
    def working(self) -> bool:
        """Whether a step of ours comes next."""
        return self.phase in WORKING


def answerable(case: Case, decision: Event, now: float) -> bool:
    """Whether a person's decision means something to the case now: a verification that has begun goes on."""
    begun = case.phase == "verify" and case.due <= now
    return (case.phase, decision) in TABLE and not begun


def advance(case: Case, event: Event, at: float, detail: str, tries: Tries) -> Case:
    """The case after ``event``; unchanged where the event means nothing in its phase.

    >>> case = Case("k", "rollback", "i", "nids", "2", "1", "why", "confirm", since=0.0)
    >>> advance(case, "ok", 5.0, "every endpoint serves 1", Tries()).phase
    'done'
    >>> again = advance(case, "retry", 5.0, "one is away", Tries())
    >>> again.phase, again.attempt, again.due
    ('confirm', 1, 10.0)
    >>> advance(replace(case, attempt=5), "retry", 5.0, "one is away", Tries()).phase
    'halted'
    """
    phase = TABLE.get((case.phase, event))
    if phase is None:
        return case
    doubted, approved = case.doubted or event == "doubted", case.approved or event in {"approve", "again"}
    moved = replace(case, phase=phase, since=at, due=at, detail=detail, doubted=doubted, approved=approved)
    if event == "retry":
        return _retried(moved, case, at, tries)
    if event == "stale":
        return _reopened(moved, case, tries)
    if event == "again":
        retrain = case.kind == "retraining"  # any doubt was about the last candidate
        doubted = case.doubted and not retrain
        return replace(moved, phase="train" if retrain else "verify", attempt=0, reopened=0, doubted=doubted)
    if event == "approve" and case.kind == "retraining":
        return replace(moved, phase="train")
    # reload and confirm are tried together: only what follows them starts counting anew
    return moved if phase == "confirm" else replace(moved, attempt=0)


def _retried(moved: Case, case: Case, at: float, tries: Tries) -> Case:
    attempt = case.attempt + 1
    if attempt >= (tries.trainings if case.kind == "retraining" else tries.attempts):
        return replace(moved, phase="halted", attempt=attempt, detail=f"given up after {attempt} tries: {moved.detail}")
    wait = min(tries.retry_seconds * 2 ** (attempt - 1), tries.longest_seconds)
    # a server that is loading would begin anew if it were told again: it is asked twice before it is told once more
    phase: Phase = "reload" if case.phase == "confirm" and attempt % 2 == 0 else moved.phase
    return replace(moved, phase=phase, attempt=attempt, due=at + wait)


def _reopened(moved: Case, case: Case, tries: Tries) -> Case:
    reopened = case.reopened + 1
    if reopened > tries.reopens:
        why = f"an old version came back {reopened} times: {moved.detail}"
        return replace(moved, phase="halted", reopened=reopened, detail=why)
    return replace(moved, attempt=0, reopened=reopened)
