"""Vetting of training buffers: requests for the true labels of rows, within a budget of each version's own gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detectors.evidence import Ask, State

GATE = "gate:"
"""The incident of a request about a row is this with the version behind."""


_DISPUTED = ""
"""In place of a label: trusted origins contradict each other about the row."""


@dataclass(frozen=True, slots=True)
class _Question:
    model: str
    version: str
    asked_window: int
    deadline: float


class RowDesk:
    """Open requests about rows by model and row id, and what was asked for each version.

    ``budgets`` say how many labels may be asked for a version of each model. What was answered about a row holds for a
    row of the same id in another version's buffer, as long as it looks the same: whoever can write a buffer could else
    give a row the id of one that is known to be good.
    """

    def __init__(self, budgets: Mapping[str, int]) -> None:
        self._budgets = budgets
        self._open: dict[tuple[str, str], _Question] = {}
        self._asked: dict[tuple[str, str], list[str]] = {}
        self._said: dict[tuple[str, str], tuple[str, str | None]] = {}

    def known(self, model: str, looks: Mapping[str, str]) -> dict[str, str]:
        """Labels by id of those rows that were answered about before. ``looks``: a digest of each row's features."""
        said = {ident: self._said.get((model, ident)) for ident in looks}
        return {i: s[1] for i, s in said.items() if s is not None and s[0] == looks[i] and s[1]}

    def admit(
        self, model: str, version: str, asks: Sequence[Ask], window: int, deadline: float, looks: Mapping[str, str]
    ) -> list[Ask]:
        """Those that were not asked before, in the given order, as far as the version's budget goes: now open.

        A row that shares its id with another one that is open waits for it. ``looks`` as for `known`.
        """
        before = self._asked.setdefault((model, version), [])
        admitted = []
        for ask in asks:
            if ask.id not in before and len(before) < self._budgets[model] and not self._other(model, ask.id, looks):
                before.append(ask.id)
                self._open[model, ask.id] = _Question(model, version, window, deadline)
                self._said[model, ask.id] = (looks[ask.id], None)
                admitted.append(ask)
        return admitted

    def _other(self, model: str, ident: str, looks: Mapping[str, str]) -> bool:
        """Whether a row of this id that looks otherwise is asked about: an answer would not say which is meant."""
        return (model, ident) in self._open and self._said[model, ident][0] != looks[ident]

    def answered(self, model: str, labels: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Which of these (row id, label) were asked about, also late or once more, with the newest version that asked.

        They are open no longer, and their labels are remembered.
        """
        asked = {ident: version for (owner, version), ids in self._asked.items() if owner == model for ident in ids}
        ours = [(ident, label) for ident, label in labels if ident in asked]
        for ident, label in ours:
            self._open.pop((model, ident), None)
            looks, before = self._said[model, ident]
            self._said[model, ident] = (looks, label if before in (None, label) else _DISPUTED)
        return {ident: asked[ident] for ident, _ in ours}

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
        """Open requests, what was asked for each version, and what was answered."""
        rows = [[ident, q.model, q.version, q.asked_window, q.deadline] for (_, ident), q in self._open.items()]
        asked = [[*key, list(ids)] for key, ids in self._asked.items()]
        return {"open": rows, "asked": asked, "said": [[*key, *said] for key, said in self._said.items()]}

    def restore(self, state: State) -> None:
        """Take back `state`."""
        self._open = {(row[1], row[0]): _Question(*row[1:]) for row in state["open"]}
        self._asked = {(model, version): list(ids) for model, version, ids in state["asked"]}
        self._said = {(model, ident): (looks, label) for model, ident, looks, label in state["said"]}
