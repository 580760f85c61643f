"""Where incidents go: a tree after Alertmanager's habits, muted by the clock of a named zone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from alert_lines import line
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts.alert import read_incident
from monitor.alerts.route_notes import configured_routing, route_notes, routing_notes
from monitor.alerts.routes import Route, Routing, Subject, placement, placements, refusal, routing_of, taken, walk
from monitor.cli.main import main
from monitor.settings.config import ConfigError, load_config
from monitor.settings.route_sections import MatchConfig, RoutingConfig

SINKS = ("siem", "pager", "mail")
DRIFT = Subject("nids", "drift", "confirmed", 3)
POISON = Subject("nids", "poisoning", "confirmed", 9, ("AML.T0018.000",), ("sensor-7", "feed-b"))


def routing(**fields: Any) -> Routing:
    return routing_of(RoutingConfig(**fields), SINKS)


def sinks(tree: Routing, subject: Subject, at: float = 0.0) -> set[str]:
    return set(placements(tree, subject, at))


def at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def test_without_routes_every_sink_gets_everything() -> None:
    assert sinks(routing(), DRIFT) == sinks(routing(), POISON) == set(SINKS)


def test_the_first_branch_that_matches_takes_it_and_the_root_what_none_does() -> None:
    tree = routing(
        sinks=["siem"],
        routes=[
            {"match": {"families": ["poisoning"]}, "sinks": ["pager"]},
            {"match": {"min_severity": 7}, "sinks": ["mail"]},
        ],
    )
    assert sinks(tree, POISON) == {"pager"}
    assert sinks(tree, DRIFT) == {"siem"}
    assert sinks(tree, Subject("nids", "evasion", "confirmed", 8)) == {"mail"}


def test_one_that_goes_on_lets_the_next_take_it_too() -> None:
    tree = routing(
        sinks=["siem"],
        routes=[
            {"match": {"families": ["poisoning"]}, "sinks": ["pager"], "continue": True},
            {"match": {"models": ["ni*"]}, "sinks": ["mail"]},
        ],
    )
    assert sinks(tree, POISON) == {"pager", "mail"}
    assert sinks(tree, Subject("spam", "poisoning", "confirmed", 9)) == {"pager"}


def test_a_branch_has_from_above_what_it_does_not_say() -> None:
    tree = routing(
        mute_times={"nights": ["daily 22:00-06:00"]},
        routes=[
            {
                "match": {"families": ["poisoning"]},
                "sinks": ["pager"],
                "update_seconds": 60,
                "mute": ["nights"],
                "routes": [{"match": {"min_severity": 9}}, {"match": {"min_severity": 5}, "mute": [], "sinks": []}],
            }
        ],
    )
    (inner,) = taken(tree.root, POISON)
    assert (inner.path, inner.sinks, inner.update_seconds, inner.mute) == (
        "routing.routes.0.routes.0",
        ("pager",),
        60,
        ("nights",),
    )
    (other,) = taken(tree.root, Subject("nids", "poisoning", "suspected", 5))
    assert (other.sinks, other.mute) == ((), ())


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ({"models": ["spam*"]}, "model nids is none of spam*"),
        ({"families": ["drift", "fault"]}, "family poisoning is none of drift, fault"),
        ({"statuses": ["suspected"]}, "status confirmed is none of suspected"),
        ({"min_severity": 10}, "severity 9 is below min_severity 10"),
        ({"max_severity": 8}, "severity 9 is above max_severity 8"),
        ({"atlas": ["AML.T0020"]}, "ATLAS AML.T0018.000 is none of AML.T0020"),
        ({"sources": ["sensor-1*"]}, "none of its 2 sources and origins is one of sensor-1*"),
        ({"atlas": ["AML.T0018"], "sources": ["feed-*"], "models": ["n?ds"], "min_severity": 9}, ""),
    ],
)
def test_why_a_route_is_not_for_an_incident(match: dict[str, Any], why: str) -> None:
    assert refusal(MatchConfig(**match), POISON) == why


def test_an_id_of_a_technique_is_no_prefix_of_another_number() -> None:
    assert refusal(MatchConfig(atlas=["AML.T001"]), POISON) != ""


@pytest.mark.parametrize(
    ("moment", "until"),
    [
        ("2026-01-02T21:59", None),  # a Friday
        ("2026-01-02T22:00", "2026-01-05T06:00"),
        ("2026-01-04T12:00", "2026-01-05T06:00"),
        ("2026-01-05T05:59", "2026-01-05T06:00"),
        ("2026-01-05T06:00", None),
    ],
)
def test_a_route_is_muted_by_weekday_and_hour_in_the_named_zone(moment: str, until: str | None) -> None:
    windows = ["daily 22:00-06:00", "Sat,Sun 06:00-22:00"]
    tree = routing(
        time_zone="Europe/Berlin",
        mute_times={"off": windows},
        sinks=[],
        routes=[{"sinks": ["pager"], "mute": ["off"], "continue": True}, {"sinks": ["siem"]}],
    )
    found = placements(tree, POISON, at(moment))
    assert found["pager"].muted_until == (None if until is None else at(until))
    assert found["siem"].muted_until is None


def test_a_sink_that_another_route_leads_to_unmuted_is_not_muted() -> None:
    tree = routing(
        mute_times={"always": ["daily 00:00-00:00"]},
        routes=[
            {"sinks": ["pager", "siem"], "mute": ["always"], "update_seconds": 60, "continue": True},
            {"sinks": ["siem"], "update_seconds": 600},
        ],
    )
    found = placements(tree, POISON, at("2026-01-02T12:00"))
    assert found["pager"].muted_until is not None
    assert (found["siem"].muted_until, found["siem"].update_seconds) == (None, 60)


def test_the_end_of_an_incident_goes_the_way_that_it_came() -> None:
    tree = routing(sinks=[], routes=[{"match": {"statuses": ["confirmed"]}, "sinks": ["pager"]}])
    over = read_incident(line(1, activity="close", status="resolved"))
    assert placement(tree, "pager", over, 0.0) is not None
    retracted = read_incident(line(1, activity="close", status="retracted"))
    assert placement(tree, "pager", retracted, 0.0) is None


FAMILIES = ["drift", "poisoning", "evasion", "fault", "inconclusive"]
NAMES = st.sampled_from(["nids", "spam", "*", "n*"])
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "models": st.lists(NAMES, max_size=2),
        "families": st.lists(st.sampled_from(FAMILIES), max_size=3),
        "statuses": st.lists(st.sampled_from(["suspected", "confirmed"]), max_size=2),
        "min_severity": st.integers(0, 5),
        "max_severity": st.integers(5, 10),
        "sources": st.lists(NAMES, max_size=2),
    },
)


def branches(below: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[list[Any]]:
    return st.lists(
        st.fixed_dictionaries(
            {"match": MATCHES, "routes": below, "continue": st.booleans()},
            optional={"sinks": st.lists(st.sampled_from(SINKS), max_size=2)},
        ),
        max_size=3,
    )


TREES = st.recursive(st.just([]), branches, max_leaves=12).map(lambda routes: routing(routes=routes))
SUBJECTS = st.builds(
    Subject,
    st.sampled_from(["nids", "spam", "n*"]),
    st.sampled_from(FAMILIES),
    st.sampled_from(["suspected", "confirmed"]),
    st.integers(0, 10),
    st.just(()),
    st.lists(st.sampled_from(["nids", "x"]), max_size=2).map(tuple),
)


def every(route: Route) -> list[Route]:
    return [route, *(each for branch in route.below for each in every(branch))]


@given(TREES, SUBJECTS)
def test_every_incident_is_taken_and_only_by_routes_that_match_it_down_from_the_root(
    tree: Routing, subject: Subject
) -> None:
    steps = [*walk(tree.root, subject)]
    by = {step.route.path: step for step in steps}
    takers = taken(tree.root, subject)
    assert takers
    for route in takers:
        for depth in range(len(route.path.split(".routes."))):
            above = ".routes.".join(route.path.split(".routes.")[: depth + 1])
            assert refusal(by[above].route.match, subject) == ""
            assert by[above].outcome == ("taken" if above == route.path else "below")


@given(TREES, SUBJECTS)
def test_of_the_branches_of_a_route_only_those_that_go_on_are_followed_by_another_one_that_matches(
    tree: Routing, subject: Subject
) -> None:
    outcomes = {step.route.path: step.outcome for step in walk(tree.root, subject)}
    for route in every(tree.root):
        reached = [b for b in route.below if outcomes.get(b.path) in {"taken", "below"}]
        assert all(branch.goes_on for branch in reached[:-1])


@given(TREES, SUBJECTS)
def test_a_route_that_a_note_calls_unreachable_takes_nothing(tree: Routing, subject: Subject) -> None:
    dead = {note.split(":")[0] for note in route_notes(tree, SINKS) if note.startswith("routing.")}
    assert not dead & {route.path for route in taken(tree.root, subject)}


def test_notes_name_what_is_never_reached_and_where_nothing_goes() -> None:
    tree = routing(
        sinks=["siem"],
        routes=[
            {"name": "grave", "match": {"min_severity": 5}, "sinks": ["pager"]},
            {"match": {"families": ["poisoning"], "min_severity": 7}},
            {"match": {"families": ["drift"]}, "routes": [{"match": {"families": ["fault"]}}]},
        ],
    )
    assert [*route_notes(tree, SINKS)] == [
        "routing.routes.1: is never reached: routing.routes.0 (grave) takes all that it matches",
        "routing.routes.2.routes.0: never matches: what is above it takes nothing of the kind",
        "sinks.mail: no route leads there, so that it gets nothing",
    ]


def test_a_route_that_is_muted_at_all_times_is_noted() -> None:
    day_and_night = {"days": ["daily 06:00-18:00"], "nights": ["daily 18:00-06:00"], "always": ["daily 00:00-00:00"]}
    routes = [
        {"match": {"families": ["drift"]}, "mute": ["days", "nights"]},
        {"match": {"families": ["fault"]}, "mute": ["always"]},
        {"mute": ["nights"], "continue": True},
    ]
    notes = [*route_notes(routing(mute_times=day_and_night, routes=routes), [])]
    assert [note.split(",")[0] for note in notes] == [
        "routing.routes.0: is muted at all times",
        "routing.routes.1: is muted at all times",
    ]


CONFIG = """
sinks:
  siem: {{type: file, path: siem.ndjson}}
  pager: {{type: file, path: pager.ndjson}}
  labels: {{type: file, path: labels.ndjson, gets: vetting}}
routing:
  time_zone: Europe/Berlin
  mute_times: {{nights: ["daily 22:00-06:00"]}}
  sinks: [siem]
  routes:
    - name: grave
      match: {{families: [poisoning], min_severity: 7}}
      sinks: [pager]
      mute: [nights]
      continue: true
      {more}
    - match: {{models: [nids]}}
      sinks: [siem]
"""


def configured(folder: Path, more: str = "") -> Path:
    path = folder / "tocsin.yaml"
    path.write_text(CONFIG.format(more=more))
    return path


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("routes: [{sinks: [pagre]}]", "routing.routes.0.routes.0.sinks: pagre: unknown; did you mean pager?"),
        ("routes: [{sinks: [labels]}]", "routing.routes.0.routes.0.sinks: labels: gets vetting requests, no incidents"),
        ("routes: [{mute: [night]}]", "routing.routes.0.routes.0.mute: night: unknown; did you mean nights?"),
        (
            "routes: [{match: {family: drift}}]",
            "routing.routes.0.routes.0.match.family: unknown; did you mean families?",
        ),
        ("routes: [{contine: true}]", "routing.routes.0.routes.0.contine: unknown; did you mean continue?"),
        ("routes: [{match: {min_severity: 8, max_severity: 7}}]", "min_severity 8 is above max_severity 7"),
        ("routes: [{match: {families: [drfit]}}]", "routing.routes.0.routes.0.match.families.0: must be 'drift'"),
    ],
)
def test_what_is_wrong_with_a_route_is_said_with_its_path(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(ConfigError) as found:
        load_config(configured(tmp_path, more), {})
    assert said in str(found.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"time_zone": "Berlin"}, "'Berlin' is no time zone"),
        ({"mute_times": {"n": ["nightly"]}}, "'nightly' is no window"),
    ],
)
def test_a_zone_or_a_window_that_is_none_is_said(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RoutingConfig(**wrong)


def routes(config: Path, incident: Path, moment: str) -> int:
    wanted = ["--config", str(config), "--incident", str(incident), "--at", moment]
    with pytest.raises(SystemExit) as ended:
        main(["alerts", "routes", *wanted], environ={})
    return int(ended.value.code or 0)


def test_the_command_says_where_an_incident_goes_and_why_not_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    incident = tmp_path / "incident.json"
    incident.write_bytes(line(1) + b"\n")
    assert routes(configured(tmp_path), incident, "2026-01-02T23:00:00+01:00") == 0
    out = capsys.readouterr().out
    assert "siem: now by routing.routes.1: not muted" in out
    assert "pager: later by routing.routes.0 (grave): muted until 2026-01-03T06:00+01:00; told then" in out
    assert "labels: no: it gets vetting requests, no incidents" in out
    incident.write_bytes(line(1, family="drift", hypothesis="covariate_drift", severity=3, model="a\x1b[2Jb"))
    assert routes(configured(tmp_path), incident, "1767225600") == 0
    out = capsys.readouterr().out
    assert "pager: no: no route that takes it leads there" in out
    assert "routing.routes.0 (grave): no: family drift is none of poisoning" in out
    assert "routing.routes.1: no: model a\\x1b[2Jb is none of nids" in out
    assert msgspec.json.decode(line(1))["uid"] in out


def test_a_configuration_without_routing_has_no_tree_and_one_with_it_is_noted_upon(tmp_path: Path) -> None:
    plain = tmp_path / "plain.yaml"
    plain.write_text("sinks: {siem: {type: file, path: a.ndjson}}\nrouting: {time_zone: UTC}\n")
    assert configured_routing(load_config(plain, {})) is None
    assert routing_notes(load_config(plain, {})) == []
    odd = load_config(configured(tmp_path, "routes: [{}, {match: {min_severity: 8}}]"), {})
    assert routing_notes(odd) == [
        "routing.routes.0.routes.1: is never reached: routing.routes.0.routes.0 takes all that it matches"
    ]
