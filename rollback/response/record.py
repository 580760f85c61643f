"""The audit log as the memory of the response.

Whatever moves a case is written, with the case as it is then, before anything follows from it: after a crash at any
moment the cases stand where they stood, and a step whose outcome is missing is done once more; every step may be.
Kinds of records: ``plan`` (a case is opened), ``answer`` (a person's), ``intent`` (a step that changes something is
begun), ``outcome`` (of any step), ``sighting`` (an endpoint or an event shows which version serves), ``held`` (a start
in mode propose found a step that nobody has approved).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from rollback.audit.log import AuditError, Record, read_while_written
from rollback.response.cases import Case

TELLING: Final = frozenset({"plan", "answer", "outcome", "sighting", "held"})
"""Kinds of records that hold a case as it is from then on."""


def opened(case: Case) -> dict[str, Any]:
    """The body of a ``plan`` record."""
    return {"case": asdict(case)}


def moved(after: Case, event: str, **more: Any) -> dict[str, Any]:
    """The body of a record that moves a case; the incident's message is in the plan already."""
    return {"event": event, **more, "case": asdict(replace(after, message=""))}


def intent(case: Case) -> dict[str, Any]:
    """The body of an ``intent`` record: what is about to be done, for the ``attempt``-th time from 0 on."""
    return {
        "key": case.key,
        "phase": case.phase,
        "attempt": case.attempt,
        "expected": case.expected,
        "target": case.target,
        "reason": case.reason,
    }


def recall(records: Iterable[Record]) -> dict[str, Case]:
    """Every case, by its key, as the last record about it left it."""
    cases: dict[str, Case] = {}
    for record in records:
        if record.kind in TELLING:
            case = _case(record)
            message = case.message or (cases[case.key].message if case.key in cases else "")
            cases[case.key] = replace(case, message=message)
    return cases


def _case(record: Record) -> Case:
    try:
        return msgspec.convert(record.body["case"], Case)
    except (KeyError, msgspec.ValidationError) as error:
        raise AuditError(
            f"record {record.number} ({record.kind}) holds no case that this version of Tocsin can read ({error}): "
            "the log was begun by another version; run that one, or move state_dir away"
        ) from error


def read_cases(path: Path) -> dict[str, Case]:
    """The cases of a log that may be being written; none where there is no log yet. Raises `AuditError`."""
    return recall(read_while_written(path)) if path.exists() else {}
