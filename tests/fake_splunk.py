"""Splunk's HTTP Event Collector as its documentation has it, strictly: whatever is odd is refused with its code."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from http_receivers import Asked, Said

CODES = {
    1: (403, "Token disabled"),
    2: (401, "Token is required"),
    3: (401, "Invalid authorization"),
    4: (403, "Invalid token"),
    5: (400, "No data"),
    6: (400, "Invalid data format"),
    7: (400, "Incorrect index"),
    8: (500, "Internal server error"),
    9: (503, "Server is busy"),
    10: (400, "Data channel is missing"),
    11: (400, "Invalid data channel"),
    12: (400, "Event field is required"),
    13: (400, "Event field cannot be blank"),
    14: (400, "ACK is disabled"),
    15: (400, "Error in handling indexed fields"),
}
KEYS = {"time", "host", "source", "sourcetype", "index", "event", "fields"}
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class FakeSplunk:
    """The collector's answers. ``events`` are those taken; ``index_up_to`` acknowledges, as indexers do."""

    def __init__(self, token: str, *, ack: bool = False) -> None:
        self.token = token
        self.ack = ack
        self.disabled = False
        self.busy = 0
        self.indexes = {"main", "soc"}
        self.max_bytes = 10_000_000
        self.poison = "\x00never"
        self.events: list[dict[str, Any]] = []
        self._next: dict[str, int] = defaultdict(int)
        self._acked: dict[str, set[int]] = defaultdict(set)

    def respond(self, asked: Asked) -> Said:
        if found := self._stranger(asked):
            return code(found)
        channel = asked.headers.get("x-splunk-request-channel", "")
        if self.ack and not GUID.fullmatch(channel):
            return code(11 if channel else 10)
        if asked.path == "/services/collector/ack":
            return self._asked_for(channel, asked)
        assert asked.path == "/services/collector/event"
        return self._take(channel, asked.body)

    def _stranger(self, asked: Asked) -> int | None:
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        if self.busy:
            self.busy -= 1
            return 9
        if not scheme:
            return 2
        if scheme != "Splunk":
            return 3
        if token != self.token:
            return 4
        return 1 if self.disabled else None

    def index(self, *acks: int) -> None:
        """The indexers have these."""
        for channel in self._next:
            self._acked[channel].update(acks)

    def restart(self) -> None:
        """It has forgotten what was not indexed, and counts from the start."""
        self._next.clear()
        self._acked.clear()

    def _take(self, channel: str, body: bytes) -> Said:
        if len(body) > self.max_bytes:
            return Said(413, b"Request Entity Too Large")
        try:
            events = list(documents(body.decode()))
        except ValueError:
            return code(6)
        if not events:
            return code(5)
        for i, event in enumerate(events):
            if found := self._wrong(event):
                return code(found, **{"invalid-event-number": i})
        self.events.extend(events)
        if not self.ack:
            return code(0)
        self._next[channel] += 1
        return code(0, ackId=self._next[channel] - 1)

    def _wrong(self, event: Any) -> int | None:
        if not isinstance(event, dict) or event.keys() - KEYS or self.poison in json.dumps(event):
            return 6
        if "event" not in event:
            return 12
        if event["event"] in ("", None):
            return 13
        if not isinstance(event.get("time"), int | float) or not isinstance(event.get("host"), str):
            return 6
        if any(not isinstance(value, str | int | float) for value in event.get("fields", {}).values()):
            return 15
        return 7 if event.get("index", "main") not in self.indexes else None

    def _asked_for(self, channel: str, asked: Asked) -> Said:
        if not self.ack:
            return code(14)
        acks = json.loads(asked.body)["acks"]
        said = {str(ack): ack in self._acked[channel] for ack in acks}
        self._acked[channel].difference_update(acks)  # it says so once
        return Said(200, json.dumps({"acks": said}).encode())


def code(number: int, **more: Any) -> Said:
    status, text = CODES.get(number, (200, "Success"))
    return Said(status, json.dumps({"text": text, "code": number, **more}).encode())


def documents(text: str) -> Iterator[Any]:
    """JSON after JSON, as the collector reads a batch."""
    decoder, place = json.JSONDecoder(), 0
    while place < len(text):
        found, place = decoder.raw_decode(text, place)
        yield found
