"""A STIX 2.1 bundle (OASIS standard of June 2021): the incident, the techniques it shows, and a note with the evidence.

The incident's STIX id follows from its uid, so that create, update and close are versions of one object; retracted ones
are ``revoked``. The alert's own id is the bundle's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid5

from monitor.alerts.alert import IncidentMessage, Notice, grade
from monitor.alerts.encode_tables import ATLAS_TECHNIQUES
from monitor.alerts.encoder import Encoder
from monitor.alerts.fit import LONGEST_TEXT, TooLongError, shorten, to_json
from monitor.alerts.reading import acts, fired, implicated, kind, technique_page, title

NAMES: Final = UUID("8f0b6c52-6f4e-5a4e-9d7c-1d1f0a3f7d11")
"""The namespace of all ids that are made here."""
SINCE: Final = "2026-01-01T00:00:00.000Z"
"""When objects that never change were made."""
AUTHOR: Final = "tocsin"
PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class StixEncoder:
    """``version`` is the product's. Where ``limit`` leaves no room, texts are cut, and the incident labelled so."""

    version: str
    limit: int

    def incident(self, message: IncidentMessage) -> bytes:
        """See `Encoder`."""
        head = message.head
        at, opened = _date(head.at), _date(min(head.opened_at, head.at))
        about = {
            **_object("incident", head.uid, opened, at),
            "name": title(message),
            "description": head.summary,
            "confidence": round(head.confidence * PERCENT),
            "labels": [kind(message), head.status, f"severity-{grade(head.severity)}"],
            "external_references": [
                {"source_name": "tocsin-incident", "external_id": head.uid},
                {"source_name": "tocsin-alert", "external_id": message.id},
            ],
        }
        if head.status == "retracted":
            about["revoked"] = True
        note = self._note(message.id, _evidence(message), about["id"], at)
        patterns = [_technique(uid) for uid in message.fields.get("atlas", ())]
        relations = [_relation(about["id"], pattern["id"], at) for pattern in patterns]
        return self._bundle(message.id, about, [note, *patterns, *relations])

    def notice(self, notice: Notice) -> bytes:
        """See `Encoder`."""
        text = f"alert: {notice.uid}\n{notice.title}\n{notice.text}\n{to_json(dict(notice.facts)).decode()}"
        note = self._note(notice.uid, text, _id("identity", AUTHOR), _date(notice.at))
        return self._bundle(notice.uid, note | {"labels": [f"severity-{grade(notice.severity)}"]}, [])

    def _note(self, name: str, content: str, about: str, at: str) -> dict[str, Any]:
        return {
            **_object("note", name, at, at),
            "content": content,
            "authors": [f"Tocsin {self.version}"],
            "object_refs": [about],
        }

    def _bundle(self, ident: str, about: dict[str, Any], further: list[dict[str, Any]]) -> bytes:
        """``about``, and what is ``further`` said as long as there is room for it."""
        whole = _document(ident, [about, *further])
        if len(text := to_json(whole)) <= self.limit:
            return text
        about = about | {"labels": [*about["labels"], "truncated"]}
        for objects in ([about, *further], [about]):
            for longest in LONGEST_TEXT:
                text = to_json(shorten(_document(ident, objects), longest))
                if len(text) <= self.limit:
                    return text
        raise TooLongError(f"the alert needs {len(text)} bytes, {self.limit} are allowed: raise max_message_bytes")


def make(version: str, limit: int) -> Encoder:
    """The encoder; ``version`` is the product's, ``limit`` the greatest length of a body in bytes."""
    return StixEncoder(version, limit)


def _document(ident: str, objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    author = {
        "type": "identity",
        "spec_version": "2.1",
        "id": _id("identity", AUTHOR),
        "created": SINCE,
        "modified": SINCE,
        "name": "Tocsin",
        "identity_class": "system",
    }
    return {"type": "bundle", "id": _id("bundle", ident), "objects": [author, *objects]}


def _object(kind_of: str, name: str, created: str, modified: str) -> dict[str, Any]:
    return {
        "type": kind_of,
        "spec_version": "2.1",
        "id": _id(kind_of, name),
        "created": created,
        "modified": modified,
        "created_by_ref": _id("identity", AUTHOR),
    }


def _technique(uid: str) -> dict[str, Any]:
    reference = {"source_name": "mitre-atlas", "external_id": uid, "url": technique_page(uid)}
    name = ATLAS_TECHNIQUES.get(uid, uid)
    return {**_object("attack-pattern", uid, SINCE, SINCE), "name": name, "external_references": [reference]}


def _relation(incident: str, pattern: str, at: str) -> dict[str, Any]:
    ends = {"relationship_type": "related-to", "source_ref": incident, "target_ref": pattern}
    return {**_object("relationship", f"{incident} {pattern} {at}", at, at), **ends}


def _evidence(message: IncidentMessage) -> str:
    """What an analyst reads below the summary, a line each."""
    lines = [f"alert: {message.id}", f"detectors: {', '.join(fired(message)) or 'none'}"]
    if trigger := implicated(message, "features"):
        lines.append(f"trigger: {to_json(trigger).decode()}")
    if sources := implicated(message, "sources"):
        lines.append(f"sources: {to_json(sources).decode()}")
    lines += [f"action: {act}" for act in acts(message)]
    return "\n".join(lines)


def _id(kind_of: str, name: str) -> str:
    return f"{kind_of}--{uuid5(NAMES, f'{kind_of} {name}')}"


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
