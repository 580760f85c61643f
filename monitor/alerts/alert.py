"""What is sent: an encoded alert, with what a transport wants to know without reading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Literal

import msgspec

Grade = Literal["informational", "low", "medium", "high", "critical"]
GRADES: Final[tuple[tuple[int, Grade], ...]] = ((9, "critical"), (7, "high"), (4, "medium"), (2, "low"))
"""The least severity (0-10) of each grade; what is less is informational."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One encoded alert. ``id`` stays the same however often it is sent: receivers drop repeats by it.

    ``at`` is event time in seconds since the epoch, ``severity`` is 0-10, ``body`` is one line.
    """

    id: str
    incident: str
    model: str
    family: str
    activity: str
    status: str
    severity: int
    at: float
    body: bytes


class IncidentHead(msgspec.Struct, frozen=True):
    """The fields of a `tocsin.incident.v1` without which it cannot be told; the others are passed on as they are."""

    uid: str
    activity: Literal["create", "update", "close"]
    status: str
    model: str
    version: str
    family: str
    severity: int
    opened_at: float
    at: float
    summary: str
    confidence: float


@dataclass(frozen=True, slots=True)
class IncidentMessage:
    """An incident as the loop wrote it, with all its ``fields``. ``id`` is the alert's, the same for the same line."""

    head: IncidentHead
    fields: Mapping[str, Any]
    id: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about the alerts themselves. ``at`` is seconds since the epoch, ``severity`` is 0-10."""

    uid: str
    at: float
    severity: int
    title: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


LONGEST_ID: Final = 512
"""Bytes of an id that every receiver takes (Elasticsearch has the least)."""


class UnreadableIncidentError(Exception):
    """A line is no incident; the message says why."""


def digest_of(content: bytes) -> bytes:
    """16 bytes; the same for the same content."""
    return blake2b(content, digest_size=16).digest()


def bounded_id(alert_id: str) -> str:
    """The id itself, or, where no receiver would take it, a digest of it: the same for the same alert.

    >>> bounded_id("8f14-create-437a"), len(bounded_id("x" * 999))
    ('8f14-create-437a', 32)
    """
    coded = alert_id.encode(errors="replace")
    return alert_id if 0 < len(coded) <= LONGEST_ID else digest_of(coded).hex()


def read_incident(line: bytes) -> IncidentMessage:
    """The incident in a line; `UnreadableIncidentError` where it is none."""
    try:
        fields = msgspec.json.decode(line)
        head = msgspec.convert(fields, IncidentHead)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableIncidentError(f"not a tocsin.incident.v1: {error}") from error
    # the log may have grown by what a crash and a restart added, when the same is told again
    content = msgspec.json.encode({name: value for name, value in fields.items() if name != "audit_checkpoint"})
    return IncidentMessage(head, fields, f"{head.uid}-{head.activity}-{digest_of(content).hex()[:16]}")


def grade(severity: int) -> Grade:
    """The word for a severity of 0-10.

    >>> grade(2), grade(5), grade(9)
    ('low', 'medium', 'critical')
    """
    return next((word for least, word in GRADES if severity >= least), "informational")
