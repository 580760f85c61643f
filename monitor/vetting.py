"""Vetting: asking a trusted labeller for the few labels that separate the hypotheses, within a budget."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from detectors.evidence import Ask, Evidence, State
from detectors.schema import Schema
from monitor.labels.scored import FoundEvent
from monitor.messages import VettingRequest
from monitor.row_vetting import GATE, RowDesk
from monitor.window import ClosedWindow

MOST_REMEMBERED: Final = 10_000
"""Ids that were asked about and are known as such when a late or second answer comes."""


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


class RowLookup(Protocol):
    """Finds the rows of a training buffer that a detector asks about."""

    def __call__(self, version: str, ident: str) -> FoundEvent | None:
        """A row as the version scores it; None where it is not known."""


@dataclass(frozen=True, slots=True)
class _Question:
    incident: str
    model: str
    version: str
    asked_window: int
    deadline: float


class VettingDesk:
    """Open requests by event id, and what is left of each incident's budget.

    A request that is not answered in time is forgotten, and costs what it cost: its incident is confirmed as it stands.
    An answer that comes later counts all the same.
    """

    def __init__(self, settings: Mapping[str, VettingSettings]) -> None:
        self._settings = settings
        self.rows = RowDesk({model: s.budget for model, s in settings.items()})
        self._open: dict[str, _Question] = {}
        self._asked: dict[str, list[str]] = {}
        self._ever: dict[str, str] = {}

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
            self._remember(ask.id, closed.model)
            requests.append(_request(closed, incident, ask, event, schema, at, deadline))
        return requests

    def ask_rows(
        self, closed: ClosedWindow, asks: Sequence[Ask], schema: Schema, find: RowLookup, at: float
    ) -> tuple[list[VettingRequest], dict[str, str]]:
        """Requests for rows of the version's training buffer, from a budget of their own.

        Also the labels of those rows that somebody was asked about before, for another version: they are not asked for.
        """
        deadline = at + self._settings[closed.model].patience
        there = {ask.id: row for ask in asks if (row := find(closed.version, ask.id)) is not None}
        looks = {ident: _looks(row, schema) for ident, row in there.items()}
        known = self.rows.known(closed.model, looks)
        held = [ask for ask in asks if ask.id in there and ask.id not in known]
        admitted = self.rows.admit(closed.model, closed.version, held, closed.index, deadline, looks)
        incident = f"{GATE}{closed.version}"
        return [_request(closed, incident, ask, there[ask.id], schema, at, deadline) for ask in admitted], known

    def asked(self, model: str) -> frozenset[str]:
        """Ids of the model's events that were asked about, also of those that were answered, late or withdrawn.

        Whatever a trusted origin says about them, whenever, is no random sample of labels: detectors chose them.
        """
        return frozenset(ident for ident, owner in self._ever.items() if owner == model)

    def _remember(self, ident: str, model: str) -> None:
        self._ever[ident] = model
        while len(self._ever) > MOST_REMEMBERED:
            del self._ever[next(iter(self._ever))]

    def settle(self, ids: Iterable[str]) -> int:
        """These were answered; how many of them were open."""
        return sum(self._open.pop(ident, None) is not None for ident in ids)

    def expire(self, now: float) -> Counter[str]:
        """Forget requests whose deadline has passed; how many by model."""
        late = {ident: q.model for ident, q in self._open.items() if q.deadline < now}
        self.settle(late)
        return Counter(late.values()) + self.rows.expire(now)

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
        ] + self.rows.due(model, version, window, delay)

    def versions(self) -> list[tuple[str, str, str]]:
        """Model, version and id of every open request."""
        return [(q.model, q.version, ident) for ident, q in self._open.items()] + self.rows.versions()

    def state(self) -> State:
        """Open requests and what was asked for each incident."""
        rows = [[i, q.incident, q.model, q.version, q.asked_window, q.deadline] for i, q in self._open.items()]
        asked = {incident: list(ids) for incident, ids in self._asked.items()}
        return {"open": rows, "asked": asked, "ever": dict(self._ever), "rows": self.rows.state()}

    def restore(self, state: State) -> None:
        """Take back `state`."""
        self._open = {row[0]: _Question(*row[1:]) for row in state["open"]}
        self._asked = {incident: list(ids) for incident, ids in state["asked"].items()}
        self._ever = dict(state["ever"])
        self.rows.restore(state["rows"])


def interleave(evidence: Sequence[Evidence]) -> list[Ask]:
    """Every detector's asks about events in turn: the budget is shared, and the most wanted of each comes first."""
    queues = [events for e in evidence if (events := [a for a in e.asks if not a.of_buffer])]
    asks, seen = [], set()
    while any(queues):
        for queue in queues:
            if queue and (ask := queue.pop(0)).id not in seen:
                seen.add(ask.id)
                asks.append(ask)
    return asks


def about_rows(evidence: Sequence[Evidence]) -> list[Ask]:
    """The asks about rows of the training buffer."""
    return [ask for e in evidence for ask in e.asks if ask.of_buffer]


def _shown(event: FoundEvent, schema: Schema) -> dict[str, float | str | None]:
    return {f.name: f.show(float(v)) for f, v in zip(schema.features, event.x, strict=True)}


def _looks(event: FoundEvent, schema: Schema) -> str:
    """A digest of what a labeller is shown of it."""
    return hashlib.blake2b(msgspec.json.encode(_shown(event, schema), order="sorted"), digest_size=16).hexdigest()


def _request(
    closed: ClosedWindow, incident: str, ask: Ask, event: FoundEvent, schema: Schema, at: float, deadline: float
) -> VettingRequest:
    return VettingRequest(
        incident=incident,
        id=ask.id,
        why=ask.why,
        features=_shown(event, schema),
        scores={c: float(s) for c, s in zip(schema.classes, event.served, strict=True)},
        asked_at=at,
        deadline=deadline,
        ref=event.ref or None,
        model=closed.model,
        version=closed.version,
    )
