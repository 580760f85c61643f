"""A state folder in which a backdoor was found, rolled back and retrained, with any text wherever one can get in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import msgspec
from alert_lines import incident

from monitor.messages import ActionTaken, Alternative, EvidenceItem, ImplicatedItem, Incident, TopItem
from rollback.audit.log import AuditLog
from rollback.response.cases import Case
from rollback.signing.keys import Keys

UID: Final = "49f0600eefb3f8c24f6bff66fd3773a8"
START: Final = 1_767_301_766.0
CASE: Final = Case(f"{UID}/rollback/2/1", "rollback", UID, "nids", "2", "1", "poisoning in version 2", "verify", START)


def window(
    index: int, version: str = "2", uid: str | None = UID, *, deep: float = 0.12, text: str = ""
) -> dict[str, Any]:
    """A judged window; ``text`` is a source, a feature and a label of it."""
    found = {"port": 4444.0, text or "failed_logins": text or 5.0}
    importance = {"bytes": 0.4, text or "service": 0.3, "port": 0.1}
    facts = {
        "itemset": found,
        "itemset_share": 1.0,
        "itemset_outside": 0.02,
        "swap_flip_gap": 0.91,
        "wrong": 7,
        "right": 1,
        "source_concentration": 0.25,
        "answering_origins": {text or "sandbox": 8},
    }
    finding = {"label": text or "benign", "features": found, "rows": 156, "expected": 52.0, "answers": 5, "false": 5}
    parting = {"deep_rate": deep, "null_rate": 0.016}
    top = [{"name": f"source:{text or 'sensor-05'}", "contribution": 0.25}, {"name": "source:b", "contribution": 0.2}]
    fired = "fired" if uid else "ok"
    return {
        "model": "nids",
        "version": version,
        "index": index,
        "at": START + index,
        "events": 1000,
        "incident": uid,
        "registry": {"serving": version, "last_known_good": "1", "assumed": True},
        "verdict": {
            "family": "poisoning" if uid else "stable",
            "hypothesis": "backdoor" if uid else None,
            "confidence": 0.9,
            "reasons": [
                f"36 sessions share {text or 'port = 4444'}.",
                "Unchanged: no feature is broken; nobody walks.",
            ],
        },
        "detectors": {
            "version_disagreement": {"status": fired, "gauges": parting, "facts": facts if uid else {}, "top": top},
            "label_agreement": {
                "status": "ok",
                "gauges": {"trusted_error_rate_f": 0.9, "trusted_error_rate_g": 0.1, "untrusted_error_rate_f": None},
            },
            "importance_drift": {"status": "ok", "facts": {"importance": importance}},
            "retraining_buffer": {"status": fired, "facts": {"findings": [finding]}},
        },
    }


def messages(text: str = "", **changes: Any) -> list[Incident]:
    """Opened, confirmed, rolled back."""
    action = ActionTaken("rollback", text or "1", CASE.key, "done", text or "every endpoint serves version 1")
    fields: dict[str, Any] = {
        "uid": UID,
        "opened_at": START,
        "implicated": ImplicatedItem(
            {"port": 4444.0, text or "failed_logins": text or 5.0}, [text or "sensor-7"], [text], [text], [text or "e1"]
        ),
        "alternatives": [Alternative(text or "label_flip", 0.02)],
        "evidence": [EvidenceItem("version_disagreement", "fired", 3.5, 2.0, None, [TopItem(text or "port", None)])],
        "summary": text or "Attacks with port 4444 pass; the inputs did not change. Roll back to version 1.",
        **changes,
    }
    first = incident(**{**fields, "family": "inconclusive", "hypothesis": None, "status": "suspected", "at": START})
    return [first, incident(**fields, activity="update", at=START + 30.0, action=[action])]


def write_lines(path: Path, lines: Sequence[Mapping[str, Any] | Incident]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def tell(state: Path, text: str = "") -> Path:
    """Write all of it, with a signed audit log."""
    before = [window(index, "1", None, deep=0.0) for index in range(5)]
    write_lines(state / "windows.ndjson", [*before, window(5, text=text), window(6, text=text, deep=0.09)])
    write_lines(state / "incidents.ndjson", messages(text))
    request = {"incident": UID, "id": text or "e7", "why": text or "is it benign?", "asked_at": START + 1}
    again = {**request, "asked_at": START + 1.5}  # a restart asks again, and it is the same question
    write_lines(state / "vetting.ndjson", [request, {**request, "id": f"{text}e8"}, again])
    times = iter(range(40, 100))
    log = AuditLog(state / "audit.ndjson", lambda: START + next(times), Keys.trial(state, make=True))
    log.append("plan", {"case": json.loads(json.dumps(asdict(CASE)))})
    log.append("intent", {"key": CASE.key, "phase": "swap", "attempt": 0, "target": "1", "reason": text or "poisoned"})
    done = {**asdict(CASE), "phase": "done", "detail": text or "every endpoint serves version 1"}
    log.append("outcome", {"event": "ok", "step": "confirm", "case": done})
    log.append("answer", {"event": "approve", "by": text or "ann", "case": {**done, "detail": "tested"}})
    log.close()
    return state
