"""Vetting of training buffers: requests for the true labels of rows, within a budget of each version's own gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from detectors.evidence import Ask, State

GATE = "gate:"
"""The incident of a request about a row is this with the version behind."""


@dataclass(frozen=True, slots=True)
class _Question:
    model: str
    version: str
    asked_window: int
    deadline: float


class RowDesk:
    """Open requests about rows by model and row id, and what was asked for each version.

    ``budgets`` say how many labels may be asked for a version of each model.
    """

    def __init__(self, budgets: Mapping[str, int]) -> None:
        self._budgets = budgets
        self._open: dict[tuple[str, str], _Question] = {}
        self._asked: dict[tuple[str, str], list[str]] = {}

    def admit(self, model: str, version: str, asks: Sequence[Ask], window: int, deadline: float) -> list[Ask]:
        """Those that were not asked before, in the given order, as far as the version's budget goes: now open."""
        before = self._asked.setdefault((model, version), [])
        admitted = []
        for ask in asks:
            if ask.id not in before and len(before) < self._budgets[model]:
                before.append(ask.id)
                self._open[model, ask.id] = _Question(model, version, window, deadline)
                admitted.append(ask)
        return admitted

    def answered(self, model: str, idents: Collection[str]) -> dict[str, str]:
        """Which of these were asked about, also if they were answered before or are late, with the newest version.

        They are open no longer.
        """
        asked = {ident: version for (owner, version), ids in self._asked.items() if owner == model for ident in ids}
        found = {ident: asked[ident] for ident in idents if ident in asked}
        for ident in found:
            self._open.pop((model, ident), None)
        return found

    def due(self, model: str, version: str, window: int, delay: int) -> list[str]:
        """Requests of this version that were made at least ``delay`` windows before ``window``, oldest first."""
        return [
            ident
            for (_, ident), q in self._open.items()
            if (q.model, q.version) == (model, version) and window - q.asked_window >= delay
        ]

    def versions(self) -> list[tuple[str, str, str]]:
        """Model, version and row id of every open request."""
        return [(q.model, q.version, ident) for (_, ident), q in self._open.items()]

    def expire(self, now: float) -> Counter[str]:
        """Forget requests whose deadline has passed; how many by model."""
        late = [key for key, q in self._open.items() if q.deadline < now]
        for key in late:
            del self._open[key]
        return Counter(model for model, _ in late)

    def state(self) -> State:
        """Open requests and what was asked for each version."""
        rows = [[ident, q.model, q.version, q.asked_window, q.deadline] for (_, ident), q in self._open.items()]
        return {"open": rows, "asked": [[*key, list(ids)] for key, ids in self._asked.items()]}

    def restore(self, state: State) -> None:
        """Take back `state`."""
        self._open = {(row[1], row[0]): _Question(*row[1:]) for row in state["open"]}
        self._asked = {(model, version): list(ids) for model, version, ids in state["asked"]}
