"""What the audit log holds of a registry: each version's digest and signer, and every move, as first seen.

Whoever can write to a registry and has a key that is trusted can swap a bundle and its signature together, and write
its history anew. The log is kept elsewhere: what it has seen before is not believed to be something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec

from rollback.audit.log import AuditLog, Record
from rollback.registry.registry import Move

VERSION: Final = "registry.version"
MOVES: Final = "registry.moves"
REWRITTEN: Final = "registry.rewritten"
ACCEPTED: Final = "registry.accepted"


@dataclass(frozen=True, slots=True)
class Seen:
    """A verified version: the SHA-256 of its manifest, which names every file's, and the key that signed it."""

    digest: str
    signed_by: str


class Anchors:
    """What ``records`` of an audit log say about the registry of each model. One thread adds, any may read."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._digests: dict[str, dict[str, str]] = {}
        self._history: dict[str, tuple[int, str]] = {}
        self._told: dict[str, str] = {}
        for record in records:
            if record.kind == VERSION:
                self.of(record.body["model"])[record.body["version"]] = record.body["digest"]
            elif record.kind in {MOVES, ACCEPTED}:
                self._history[record.body["model"]] = (record.body["size"], record.body["digest"])
            elif record.kind == REWRITTEN:
                self._told[record.body["model"]] = record.body["digest"]

    def of(self, model: str) -> dict[str, str]:
        """The digest of each version's manifest; what is added later is in it as well."""
        return self._digests.setdefault(model, {})

    def notice(self, model: str, versions: Mapping[str, Seen], history: Sequence[Move], log: AuditLog) -> str:
        """Write what is new to the ``log``; returns what is wrong with the history, empty for nothing."""
        known = self.of(model)
        for version, seen in versions.items():
            if version not in known:
                log.append(VERSION, {"model": model, "version": version, **asdict(seen)})
                known[version] = seen.digest
        return self._notice_moves(model, history, log)

    def rewritten(self, model: str, history: Sequence[Move]) -> str:
        """What is wrong with the history of a model's registry; empty for nothing.

        It stays wrong until it is again what it was, or somebody accepts it (`accept`).
        """
        size, digest = self._history.get(model, (0, _digest(())))
        if _digest(history[:size]) == digest:
            return ""
        return (
            f"the first {size} entries of the history of model {model!r} are others than the audit log holds; compare "
            "them (tocsin audit show --kind registry.moves), restore the file, or, once it is known why they changed: "
            "tocsin audit accept-history"
        )

    def accept(self, model: str, history: Sequence[Move], by: str, reason: str, log: AuditLog) -> None:
        """From now on this is the history, as somebody says who has looked into it."""
        now = {"model": model, "size": len(history), "digest": _digest(history)}
        log.append(ACCEPTED, {**now, "moves": _plain(history), "by": by, "reason": reason})
        self._history[model] = (len(history), str(now["digest"]))

    def _notice_moves(self, model: str, history: Sequence[Move], log: AuditLog) -> str:
        size, digest = self._history.get(model, (0, _digest(())))
        now = {"model": model, "size": len(history), "digest": _digest(history)}
        if problem := self.rewritten(model, history):
            if self._told.get(model) != now["digest"]:
                log.append(REWRITTEN, {**now, "expected": digest, "moves": _plain(history)})
                self._told[model] = str(now["digest"])
            return problem
        if len(history) > size:
            log.append(MOVES, {**now, "moves": _plain(history[size:])})
            self._history[model] = (len(history), str(now["digest"]))
        return ""


def _plain(history: Sequence[Move]) -> list[dict[str, Any]]:
    return [asdict(move) for move in history]


def _digest(history: Sequence[Move]) -> str:
    return hashlib.sha256(msgspec.json.encode(list(history))).hexdigest()
