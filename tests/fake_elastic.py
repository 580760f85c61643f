"""Elasticsearch's `_bulk` as its documentation has it, strictly, with what a mapping refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from http_receivers import Asked, Said


class FakeElastic:
    """``documents`` by id; ``refuses`` says with which status and error one is refused, None where it is taken."""

    def __init__(self, authorization: str, index: str = "logs-tocsin.incident-default") -> None:
        self.authorization = authorization
        self.index = index
        self.documents: dict[str, dict[str, Any]] = {}
        self.refuses: Callable[[dict[str, Any]], tuple[int, str] | None] = lambda _: None
        self.max_bytes = 10_000_000
        self.bulks = 0

    def respond(self, asked: Asked) -> Said:
        if found := self._stranger(asked):
            return found
        lines = asked.body.split(b"\n")
        if lines.pop() or len(lines) % 2:
            return error(400, "illegal_argument_exception", "The bulk request must be terminated by a newline [\\n]")
        self.bulks += 1
        items = [self._item(json.loads(lines[i]), json.loads(lines[i + 1])) for i in range(0, len(lines), 2)]
        errors = any("error" in item["create"] for item in items)
        return Said(200, json.dumps({"took": 1, "errors": errors, "items": items}).encode())

    def _stranger(self, asked: Asked) -> Said | None:
        """What is wrong before a line is read."""
        if asked.headers.get("authorization") != self.authorization:
            return error(401, "security_exception", f"unable to authenticate {asked.headers.get('authorization')}")
        if asked.headers.get("content-type") != "application/x-ndjson":
            return error(406, "media_type_header_exception", "Content-Type header is not supported")
        if asked.path != f"/{self.index}/_bulk":
            return error(404, "index_not_found_exception", "no such index")
        return Said(413) if len(asked.body) > self.max_bytes else None

    def _item(self, action: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
        assert list(action) == ["create"]
        uid = action["create"]["_id"]
        assert 0 < len(uid.encode()) <= 512
        assert "@timestamp" in document
        if uid in self.documents:
            return failed(uid, 409, "version_conflict_engine_exception")
        if refused := self.refuses(document):
            return failed(uid, *refused)
        self.documents[uid] = document
        return {"create": {"_index": self.index, "_id": uid, "status": 201, "result": "created"}}


def failed(uid: str, status: int, kind: str) -> dict[str, Any]:
    return {"create": {"_id": uid, "status": status, "error": {"type": kind, "reason": "because"}}}


def error(status: int, kind: str, reason: str) -> Said:
    return Said(status, json.dumps({"error": {"type": kind, "reason": reason}, "status": status}).encode())
