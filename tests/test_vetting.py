"""Requests for labels: budget, order, deadline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.evidence import Ask, Evidence
from detectors.schema import Feature, Schema
from monitor.labels.scored import FoundEvent
from monitor.oracle import Oracle, OracleError, read_answers
from monitor.state.checkpoint import decode, encode
from monitor.vetting import VettingDesk, VettingSettings, interleave
from monitor.window import ClosedWindow, WindowBuilder, WindowSettings

SCHEMA = Schema((Feature("bytes"), Feature("service", "categorical", ("http", "dns"))), ("attack", "benign"))


def closed(index: int) -> ClosedWindow:
    builder = WindowBuilder(WindowSettings())
    return [builder.without_events("nids", "2") for _ in range(index + 1)][-1]


def find(model: str, version: str, ident: str) -> FoundEvent | None:
    if ident.startswith("gone"):
        return None
    return FoundEvent(np.array([1.0, np.nan]), np.array([0.25, 0.75]), "pcap://7")


def desk(budget: int = 3) -> VettingDesk:
    return VettingDesk({"nids": VettingSettings(budget, patience=10.0)})


def asked(table: VettingDesk, *ids: str, incident: str = "i1", index: int = 0) -> list[str]:
    asks = [Ask(ident, "because") for ident in ids]
    return [r.id for r in table.ask(closed(index), incident, asks, SCHEMA, find, at=5.0)]


def test_no_more_is_asked_than_the_budget_of_an_incident_and_nothing_twice() -> None:
    table = desk()
    assert asked(table, "a", "b") == ["a", "b"]
    assert asked(table, "b", "c", "d") == ["c"]
    assert asked(table, "e", incident="i2") == ["e"]
    assert (table.left("nids", "i1"), table.left("nids", "i2"), table.left("nids", None)) == (0, 2, 3)


def test_an_event_that_is_no_longer_held_costs_nothing() -> None:
    table = desk()
    assert asked(table, "gone-1", "a") == ["a"]
    assert table.left("nids", "i1") == 2


def test_a_request_shows_the_event_as_a_person_reads_it() -> None:
    (request,) = desk().ask(closed(0), "i1", [Ask("a", "because")], SCHEMA, find, at=5.0)
    assert request.features == {"bytes": 1.0, "service": None}
    assert request.scores == {"attack": 0.25, "benign": 0.75}
    assert (request.asked_at, request.deadline, request.ref) == (5.0, 15.0, "pcap://7")


def test_answers_and_deadlines_close_requests() -> None:
    table = desk()
    asked(table, "a", "b")
    assert table.settle(["a"]) == 1
    assert [ident for _, _, ident in table.versions()] == ["b"]
    assert table.expire(15.1) == {"nids": 1}
    assert table.waiting("i1") == 0
    assert table.left("nids", "i1") == 1


def test_what_was_asked_about_stays_known_as_such_for_late_and_second_answers_also_after_a_restart() -> None:
    table = desk()
    asked(table, "answered", "late")
    asked(table, "withdrawn", incident="i2")
    table.settle(["answered"])
    table.expire(15.1)
    table.close("i2")
    restored = desk()
    restored.restore(decode(encode(table.state())))
    assert restored.asked("nids") == {"answered", "late", "withdrawn"}
    assert restored.settle(["late"]) == 0


def test_closing_an_incident_withdraws_its_requests() -> None:
    table = desk()
    asked(table, "a")
    table.close("i1")
    assert table.versions() == []


def test_the_desk_goes_through_a_checkpoint() -> None:
    table = desk()
    asked(table, "a", "b", index=4)
    restored = desk()
    restored.restore(decode(encode(table.state())))
    assert restored.asked("nids") == {"a", "b"}
    assert restored.due("nids", "2", 5, delay=1) == ["a", "b"]
    assert asked(restored, "a", "c", "d") == ["c"]


def test_an_oracle_answers_only_what_was_asked_and_after_the_delay() -> None:
    table = desk()
    asked(table, "a", "b", index=2)
    oracle = Oracle({"a": "attack", "c": "benign"}, table, {"nids": 2})
    assert oracle.due(closed(3)) == []
    (chunk,) = oracle.due(closed(4))
    assert chunk.role == "trusted"
    assert [b'"attack"' in value and b'"a"' in value for value in chunk.values] == [True]
    assert oracle.outstanding() == {("nids", "2")}


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=5, unique=True), max_size=4))
def test_detectors_take_turns_and_nothing_is_lost(queues: list[list[str]]) -> None:
    evidence = [Evidence(str(i), "ok", asks=tuple(Ask(a, "") for a in queue)) for i, queue in enumerate(queues)]
    order = [ask.id for ask in interleave(evidence)]
    assert sorted(order) == sorted({a for queue in queues for a in queue})
    assert order[:1] == next(([queue[0]] for queue in queues if queue), [])


def test_answers_are_read_by_event_id(tmp_path: object) -> None:
    lines = [(0, b'{"id": "a", "label": "attack", "ts": 1, "origin": "x"}'), (2, b'{"id": "b", "label": "benign"}')]
    assert read_answers(tmp_path, lines) == {"a": "attack", "b": "benign"}  # type: ignore[arg-type]  # a path


def test_two_answers_that_contradict_are_refused(tmp_path: Path) -> None:
    lines = [(0, b'{"id": "a", "label": "attack"}'), (1, b'{"id": "a", "label": "benign"}')]
    with pytest.raises(OracleError, match="line 2: event 'a' is 'benign' here and 'attack' above"):
        read_answers(tmp_path, lines)
