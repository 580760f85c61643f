"""Vetting: asking a trusted labeller for the few labels that separate the hypotheses, within a budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from detectors.evidence import Ask, Evidence, State
from detectors.schema import Schema
from monitor.labels.scored import FoundEvent
from monitor.messages import VettingRequest
from monitor.window import ClosedWindow


@dataclass(frozen=True, slots=True)
class VettingSettings:
    """``budget`` labels per incident; a request is open for ``patience`` seconds of event time."""

    budget: int = 16
    patience: float = 3 * 86400.0

    def __post_init__(self) -> None:
        if self.budget < 0:
            raise ValueError(f"vetting budget must not be negative, got {self.budget}")


class EventLookup(Protocol):
    """Finds the events that a detector asks about."""

    def __call__(self, model: str, version: str, ident: str) -> FoundEvent | None:
        """A scored event; None where it is no longer held."""


@dataclass(frozen=True, slots=True)
class _Question:
    incident: str
    model: str
    version: str
    asked_window: int
    deadline: float


class VettingDesk:
    """Open requests by event id, and what is left of each incident's budget."""

    def __init__(self, settings: Mapping[str, VettingSettings]) -> None:
        self._settings = settings
        self._open: dict[str, _Question] = {}
        self._asked: dict[str, list[str]] = {}

    def left(self, model: str, incident: str | None) -> int:
        """How many more labels may be asked for in this incident (None: one that would be opened now)."""
        return self._settings[model].budget - len(self._asked.get(incident or "", ()))

    def waiting(self, incident: str) -> int:
        """How many requests of this incident have no answer yet."""
        return sum(q.incident == incident for q in self._open.values())

    def ask(
        self, closed: ClosedWindow, incident: str, asks: Sequence[Ask], schema: Schema, find: EventLookup, at: float
    ) -> list[VettingRequest]:
        """Requests for events not asked about before, in the given order, as far as the budget goes."""
        requests = []
        before = self._asked.setdefault(incident, [])
        for ask in asks:
            if self.left(closed.model, incident) <= 0:
                break
            event = find(closed.model, closed.version, ask.id) if ask.id not in before else None
            if event is None:
                continue
            deadline = at + self._settings[closed.model].patience
            self._open[ask.id] = _Question(incident, closed.model, closed.version, closed.index, deadline)
            before.append(ask.id)
            requests.append(_request(incident, ask, event, schema, at, deadline))
        return requests

    def asked(self, model: str) -> frozenset[str]:
        """Ids of the model's events that we wait for an answer about."""
        return frozenset(ident for ident, q in self._open.items() if q.model == model)

    def settle(self, ids: Iterable[str]) -> int:
        """These were answered; how many of them were open."""
        return sum(self._open.pop(ident, None) is not None for ident in ids)

    def expire(self, now: float) -> Counter[str]:
        """Forget requests whose deadline has passed; how many by model."""
        late = {ident: q.model for ident, q in self._open.items() if q.deadline < now}
        self.settle(late)
        return Counter(late.values())

    def close(self, incident: str) -> None:
        """The incident is over: its open requests are withdrawn."""
        self._asked.pop(incident, None)
        self.settle([ident for ident, q in self._open.items() if q.incident == incident])

    def due(self, model: str, version: str, window: int, delay: int) -> list[str]:
        """Requests of this version that were made at least ``delay`` windows before ``window``, oldest first."""
        return [
            ident
            for ident, q in self._open.items()
            if (q.model, q.version) == (model, version) and window - q.asked_window >= delay
        ]

    def versions(self) -> list[tuple[str, str, str]]:
        """Model, version and event id of every open request."""
        return [(q.model, q.version, ident) for ident, q in self._open.items()]

    def state(self) -> State:
        """Open requests and what was asked for each incident."""
        rows = [[i, q.incident, q.model, q.version, q.asked_window, q.deadline] for i, q in self._open.items()]
        return {"open": rows, "asked": {incident: list(ids) for incident, ids in self._asked.items()}}

    def restore(self, state: State) -> None:
        """Take back `state`."""
        self._open = {row[0]: _Question(*row[1:]) for row in state["open"]}
        self._asked = {incident: list(ids) for incident, ids in state["asked"].items()}


def interleave(evidence: Sequence[Evidence]) -> list[Ask]:
    """Every detector's asks in turn: the budget is shared, and the most wanted of each comes first."""
    queues = [list(e.asks) for e in evidence if e.asks]
    asks, seen = [], set()
    while any(queues):
        for queue in queues:
            if queue and (ask := queue.pop(0)).id not in seen:
                seen.add(ask.id)
                asks.append(ask)
    return asks


def _request(incident: str, ask: Ask, event: FoundEvent, schema: Schema, at: float, deadline: float) -> VettingRequest:
    return VettingRequest(
        incident=incident,
        id=ask.id,
        why=ask.why,
        features={f.name: f.show(float(v)) for f, v in zip(schema.features, event.x, strict=True)},
        scores={c: float(s) for c, s in zip(schema.classes, event.served, strict=True)},
        asked_at=at,
        deadline=deadline,
        ref=event.ref or None,
    )
