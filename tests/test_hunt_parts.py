"""The parts of a hunt: what is marked and listed, tables in bounded memory, incidents and service found again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from theatre import tamper
from tiny_registry import add, make_registry, point

from detectors.batch import Batch, Floats
from detectors.schema import Feature, Schema
from monitor.hunting.case import open_case
from monitor.hunting.compared import Compared, HuntError, TrustedRows, hunted_versions
from monitor.hunting.hunt import Hunt
from monitor.hunting.listing import Listing
from monitor.hunting.reading import Scope
from monitor.hunting.top_names import TopNames
from monitor.hunting.weighing import Weighing, estimate
from monitor.incidents.file import IncidentFileError, find_incident, read_incident
from monitor.messages import Incident
from monitor.sources.file_chunks import LINES, file_chunks
from monitor.sources.source import Chunk, Partition
from rollback.hunt.estimate import Null
from rollback.hunt.trigger import read_trigger
from rollback.manifest import Draft, FeatureSpec
from rollback.registry.registry import Move
from rollback.registry.service import Period, made_from, served_periods

KEY = b"0123456789abcdef"
SCHEMA = Schema((Feature("x"), Feature("t")), ("attack", "benign"))


def good(x: Floats) -> Floats:
    """LKG: an attack where x is positive; it fails where x is 99."""
    p = np.where(x[:, 0] == 99, np.nan, 1 / (1 + np.exp(-x[:, 0])))
    return np.column_stack([p, 1 - p])


def compared(version: str = "2", null: Null | None = None, periods: tuple[Period, ...] = ()) -> Compared:
    return Compared(
        version,
        registered=True,
        schema=SCHEMA,
        simplex=True,
        score_good=good,
        trigger=read_trigger({"t": 5.0}, SCHEMA),
        targets=np.array([False, True]),
        trusted=TrustedRows(100, 0, null, null),
        periods=periods,
        notes=(),
    )


def event(ident: str, x: float, benign: float, **more: Any) -> dict[str, Any]:
    return {
        "id": ident, "ts": 100.0, "model": "nids", "version": "2", "features": [x, 0.0],
        "scores": [1 - benign, benign], "source": "fw", "session": ident,
    } | more  # fmt: skip


def hunted(folder: Path, events: list[dict[str, Any]], *versions: Compared, most: int = 100) -> Hunt:
    wanted = {v.version: v for v in versions or (compared(),)}
    with Listing(folder, most) as listing:
        hunt = Hunt(Scope("nids", 0.0, 1e9), wanted, listing, KEY)
        hunt.take(Chunk(Partition("t", 3), "inference", range(len(events)), [json.dumps(e).encode() for e in events]))
        listing.finish()
    return hunt


def listed(folder: Path, name: str = "worst.ndjson") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_bytes().splitlines()]


def test_what_is_listed_and_in_which_order(tmp_path: Path) -> None:
    hunted(
        tmp_path,
        [
            event("agree", 3, 0.1),
            event("shallow", 0.5, 0.9),
            event("deep", 6, 0.99, ref="case/1"),
            event("as deep, earlier", 6, 0.99, ts=50.0),
            event("other way", -6, 0.01, features=[-6, 5]),
            event("with trigger", 1, 0.9, features=[1, 5]),
            event("with trigger, LKG agrees", -1, 0.9, features=[-1, 5]),
            event("LKG fails", 99, 0.9),
            event("LKG fails, stopped", 99, 0.1),
        ],
    )
    lines = listed(tmp_path)
    assert [line["id"] for line in lines] == [
        "with trigger", "with trigger, LKG agrees", "as deep, earlier", "deep", "other way", "shallow", "LKG fails",
    ]  # fmt: skip
    by_id = {line["id"]: line for line in lines}
    assert [by_id[i]["passed"] for i in ("deep", "other way", "with trigger", "with trigger, LKG agrees")] == [
        True, False, True, False,
    ]  # fmt: skip
    assert by_id["LKG fails"]["last_known_good"] is None
    assert by_id["LKG fails"]["last_known_good_scores"] == {}
    assert (by_id["deep"]["ref"], by_id["deep"]["topic"], by_id["deep"]["partition"], by_id["deep"]["offset"]) == (
        "case/1", "t", 3, 2,
    )  # fmt: skip
    assert by_id["deep"]["features"] == {"x": 6.0, "t": 0.0}
    in_order = listed(tmp_path, "missed.ndjson")
    assert [line["id"] for line in in_order][:2] == ["shallow", "deep"]
    assert "features" not in in_order[0]


def test_counts_say_what_became_of_each_event(tmp_path: Path) -> None:
    service = (Period(60.0, 90.0),)
    hunt = hunted(
        tmp_path,
        [
            event("a", 6, 0.99, ts=50.0),
            event("b", 6, 0.99, features=[6, 5], ts=70.0),
            event("b", 6, 0.99, features=[6, 5], ts=70.0),
            event("c", -6, 0.99, features=[-6, 5], ts=95.0),
            event("d", 99, 0.5, ts=80.0),
        ],
        compared(periods=service),
    )
    counts = hunt.counts()
    assert (counts.messages, counts.events, counts.repeats, counts.unscored) == (5, 4, 1, 1)
    assert (counts.differing, counts.passed, counts.with_trigger, counts.agreed_with_trigger) == (2, 2, 2, 1)
    version = hunt.versions()[0]
    assert (version.before_service, version.after_service) == (1, 1)
    assert hunt.seen is not None
    assert (hunt.seen.events, hunt.seen.first, hunt.seen.last) == (2, 70.0, 95.0)
    assert [(d.last_known_good, d.served, d.events, d.with_trigger) for d in hunt.directions()] == [
        ("attack", "benign", 2, 1)
    ]


def test_several_versions_are_weighed_together(tmp_path: Path) -> None:
    events = [event(f"e{i}", 6, 0.99, version=v) for v in ("2", "3") for i in range(50)]
    null = Null(0, 1000, 1.0)
    hunt = hunted(tmp_path, events, compared("2", null), compared("3", null))
    found = estimate(list(hunt.weighings.values()))
    assert (found.total.events, found.total.sessions, found.unknown) == (100, 100, "")
    assert found.total.attack_events is not None
    assert found.total.attack_events.low >= 95
    blind = hunted(tmp_path, events, compared("2", null), compared("3"))
    unknown = estimate(list(blind.weighings.values()))
    assert unknown.total.attack_events is None
    assert "not known for version 3" in unknown.unknown


def test_of_too_many_sessions_a_sample_speaks_for_all() -> None:
    rng = np.random.default_rng(1)
    null = Null(10, 1000, 1.0)
    weighing = Weighing(compared(null=null), capacity=1000)
    n, attacks = 20_000, 2000
    x = np.column_stack([np.full(n, -6.0), np.zeros(n)])
    x[:attacks, 0] = 6.0
    churn = rng.random(n) < 0.01
    scores = np.where((x[:, :1] > 0) | churn[:, None], 0.99, 0.98)
    scores = np.column_stack([1 - scores, scores])[:, :2]
    x[churn, 0] = 6.0
    blank = np.full(n, "fw")
    batch = Batch(
        "nids", "2", np.zeros(n), blank, blank, blank, blank, x, scores, np.zeros(n, np.int64), np.arange(n),
        np.zeros(n, np.uint64), np.zeros(n, np.uint64),
    )  # fmt: skip
    weighing.add(rng.integers(0, 2**64, n, dtype=np.uint64), batch, weighing.compared.mark(x, scores)[0])
    found = estimate([weighing])
    assert found.session_share < 0.1
    assert found.total.attack_sessions is not None
    assert found.total.attack_sessions.low <= attacks <= found.total.attack_sessions.high
    assert found.total.events == int(np.count_nonzero(x[:, 0] > 0))


names = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(1, 5)), max_size=100)


@given(names, st.integers(1, 12))
def test_forgetful_counts_are_too_low_by_no_more_than_they_say(seen: list[tuple[str, int]], kept: int) -> None:
    top, exact = TopNames(kept), Counter[str]()
    for name, count in seen:
        top.add(name, (count,))
        exact[name] += count
    shown = {name: counts[0] for name, counts in top.largest(100)}
    assert len(shown) < 2 * kept
    assert all(exact[name] - top.too_low_by <= shown.get(name, 0) <= exact[name] for name in exact)
    if len(exact) < 2 * kept:
        assert shown == exact


def test_service_is_read_from_the_history() -> None:
    def move(at: float, action: str, version: str, previous: str | None) -> Move:
        return Move(at, action, version, previous, "a", "")

    history = [
        move(0, "add", "1", None), move(1, "assume", "1", None), move(2, "add", "2", "1"),
        move(3, "promote", "2", "1"), move(4, "known-good", "2", "1"), move(5, "promote", "2", "2"),
        move(6, "rollback", "1", "2"), move(7, "add", "3", "2"), move(8, "promote", "2", "1"), move(9, "add", "4", "3"),
    ]  # fmt: skip
    assert served_periods(history, "2") == [Period(3, 6), Period(8, None)]
    assert served_periods(history, "1") == [Period(1, 3), Period(6, 8)]
    assert served_periods(history, "9") == []
    assert made_from(history, ["2"]) == ["3", "4"]


def test_versions_since_the_first_poisoned_one_are_hunted() -> None:
    order = ["1", "2", "3", "4"]
    assert hunted_versions(order, "4", "2", "1") == ["2", "3", "4"]
    assert hunted_versions(order, "4", "2", "3") == ["2", "4"]
    assert hunted_versions(order, "3", None, "1") == ["3"]
    assert hunted_versions(order, "2", "4", "1") == ["2"]


INCIDENT = {
    "uid": "u1", "activity": "create", "status": "confirmed", "model": "nids", "version": "2", "last_known_good": "1",
    "opened_at": 0, "at": 0, "window": {"index": 0, "first_id": "a", "last_id": "b"}, "family": "poisoning",
    "hypothesis": None, "confidence": 1.0, "family_confidence": 1.0, "severity": 1, "summary": "",
}  # fmt: skip


def test_an_incident_is_found_while_the_daemon_writes(tmp_path: Path) -> None:
    path = tmp_path / "incidents.ndjson"
    path.write_text(json.dumps(INCIDENT) + "\n" + json.dumps(INCIDENT | {"at": 7})[:50])
    assert find_incident(tmp_path, "u1").at == 0
    assert find_incident(path, "u1").at == 0
    with pytest.raises(IncidentFileError, match="holds no incident 'u2'"):
        find_incident(tmp_path, "u2")
    path.write_text(json.dumps(INCIDENT, indent=2))
    assert read_incident(path).uid == "u1"


def test_chunks_are_bounded_and_lose_nothing(tmp_path: Path) -> None:
    paths = [tmp_path / "a.ndjson", tmp_path / "b.ndjson"]
    paths[0].write_text("".join(f"{i}\n\n" for i in range(LINES + 1)))
    paths[1].write_text("x" * 9_000_000 + "\ny\n")
    chunks = list(file_chunks((path, "inference") for path in paths))
    assert [len(chunk.values) for chunk in chunks] == [LINES, 1, 1, 1]
    assert chunks[1].offsets == [2 * LINES]
    assert chunks[3].values == [b"y"]


def incident(**change: Any) -> Incident:
    return msgspec.convert(INCIDENT | change, Incident)


def test_an_earlier_version_that_cannot_be_compared_is_left_out_and_said() -> None:
    registry = make_registry()
    classes = registry.load("1").manifest.classes
    registry.add(Draft(classes=classes, features=(FeatureSpec("y"),), parent="2"), {}, by="test", reason="other")
    add(registry, 4)
    case = open_case(registry, incident(version="4", first_poisoned="2"))
    assert [one.version for one in case.versions] == ["2", "4"]
    assert any("not hunted: version 3 cannot be re-scored with version 1: " in note for note in case.notes)
    assert "features differ" in " ".join(case.notes)
    assert case.since is None
    with pytest.raises(HuntError, match="features differ between the versions"):
        open_case(registry, incident(version="3", first_poisoned=None))
    with pytest.raises(HuntError, match="version 3 cannot be re-scored"):
        open_case(registry, incident(version="4"), versions=["3", "4"])
    alone = open_case(registry, incident(version="2"))
    assert alone.made_from == ("3",)
    assert any("made from what is hunted, and not hunted: 3" in note for note in alone.notes)


def test_a_version_that_fails_verification_is_hunted_as_it_was_served() -> None:
    registry = make_registry()
    tamper(registry, "2")
    case = open_case(registry, incident())
    assert (case.primary.registered, case.primary.trusted.null) == (False, None)
    assert "version 2 fails verification" in case.notes[0]


def test_a_version_that_served_is_hunted_since_then() -> None:
    registry = make_registry()
    point(registry, "2")
    case = open_case(registry, incident(implicated={"features": {}, "labels": []}))
    assert (case.since, case.primary.trigger, case.notes) == (0.0, None, ())
    assert case.primary.trusted.null is not None
    assert case.primary.targets.all()
