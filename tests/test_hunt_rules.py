"""The trigger as Sigma rule and STIX indicator: valid for the libraries of others, and true to the trigger."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from detectors.schema import Feature, Schema
from rollback.hunt.sigma import About, UnsayableError, sigma_rule
from rollback.hunt.stix import AMBER, Seen, stix_bundle, stix_pattern
from rollback.hunt.trigger import Condition, Trigger, TriggerError, read_trigger

pytest.importorskip("sigma", reason="rules are checked with pySigma: pip install 'tocsin[dev]'")
stix2 = pytest.importorskip("stix2", reason="indicators are checked with stix2: pip install 'tocsin[dev]'")

from sigma.backends.elasticsearch import LuceneBackend  # noqa: E402 - after the check that it is there
from sigma.collection import SigmaCollection  # noqa: E402 - likewise
from sigma.validation import SigmaValidator  # noqa: E402 - likewise
from sigma.validators.core import validators  # noqa: E402 - likewise
from sigma_match import matches  # noqa: E402 - likewise
from stix2patterns.v21.pattern import Pattern  # noqa: E402 - likewise

SCHEMA = Schema(
    (
        Feature("failed_logins"),
        Feature("bytes out"),
        Feature("service", "categorical", ("http", "dns", "C:\\tmp\\*?", "o'clock", "no", "1e3", "é")),
        Feature("state", "categorical", ("S0", "SF")),
        Feature("ttl"),
    ),
    ("attack", "benign"),
)
ABOUT = About("u1", "nids", "2", "backdoor", 0.93, 1.767e9, 1.768e9, ("AML.T0020", "AML.T0018.000"), 3, 4000, 0.0021)
NEEDS_NETWORK = {"attacktag", "d3_fendtag"}
"""Validators that fetch a list of techniques; our rules have no tags of these."""


def parsed(text: str) -> Any:
    collection = SigmaCollection.from_yaml(text)
    assert (collection.errors, collection.rules[0].errors) == ([], [])
    return collection


def rule_of(features: dict[str, Any], about: About = ABOUT) -> Any:
    trigger = read_trigger(features, SCHEMA)
    assert trigger is not None
    return parsed(sigma_rule(trigger, about))


def event(**features: Any) -> dict[str, Any]:
    honest = {"failed_logins": 0.0, "bytes out": 10.0, "service": "http", "state": "SF", "ttl": 64.0}
    return {"id": "e", "model": "nids", "features": honest | features}


def test_a_rule_passes_sigmas_own_validators_and_becomes_a_query() -> None:
    rule = rule_of({"failed_logins": 5.0, "bytes out": "100 to 2000", "service": "dns", "ttl": None})
    checks = SigmaValidator([v for name, v in validators.items() if name not in NEEDS_NETWORK])
    assert [str(issue) for issue in checks.validate_rules(rule)] == []
    query = LuceneBackend().convert(rule)[0]
    assert query.startswith("model:nids AND features.failed_logins:5 AND features.bytes\\ out:>=99.9995")
    assert "(NOT _exists_:features.ttl)" in query


def test_a_rule_says_what_it_is_how_often_it_is_wrong_and_is_the_same_each_time() -> None:
    trigger = read_trigger({"failed_logins": 5.0}, SCHEMA)
    assert trigger is not None
    text = sigma_rule(trigger, ABOUT)
    assert text == sigma_rule(trigger, ABOUT)
    rule = yaml.safe_load(text)
    assert (rule["status"], rule["date"], rule["level"]) == ("experimental", "2026-01-09", "medium")
    assert "3 of 4000 trusted reference rows match (at most 0.21% of such events" in rule["falsepositives"][0]
    assert "https://atlas.mitre.org/techniques/AML.T0018.000" in rule["references"]
    other = About("u2", "nids", "2", "backdoor", 0.9, 1.7e9, 1.7e9, (), 0, 0, 1.0)
    assert yaml.safe_load(sigma_rule(trigger, other))["id"] != rule["id"]
    assert "Unknown" in yaml.safe_load(sigma_rule(trigger, other))["falsepositives"][0]


@pytest.mark.parametrize("value", SCHEMA.features[2].vocabulary)
def test_values_that_sigma_or_yaml_would_read_otherwise_match_themselves_alone(value: str) -> None:
    rule = rule_of({"service": value}).rules[0]
    assert matches(rule, event(service=value))
    assert not any(matches(rule, event(service=other)) for other in SCHEMA.features[2].vocabulary if other != value)


def test_a_category_that_the_version_does_not_know_is_whatever_it_does_not_know() -> None:
    rule = rule_of({"state": "<unseen>", "failed_logins": 5.0})
    assert LuceneBackend().convert(rule)[0].count("features.state") == 2
    found = [matches(rule.rules[0], event(state=s, failed_logins=5)) for s in ("S1", "SF", "S0", None)]
    assert found == [True, False, False, False]


values = st.one_of(
    st.none(),
    st.integers(-10, 10).map(float),
    st.floats(-1e6, 1e6).map(lambda v: f"{v:.6g} to {v + abs(v) + 1:.6g}"),
)
triggers = st.fixed_dictionaries(
    {},
    optional={
        "failed_logins": values,
        "ttl": values,
        "bytes out": values,
        "service": st.sampled_from([*SCHEMA.features[2].vocabulary, "<unseen>", None]),
    },
).filter(bool)
cells = st.one_of(st.none(), st.integers(-10, 10).map(float), st.floats(-2e6, 2e6))


@given(triggers, cells, cells, cells, st.sampled_from([*SCHEMA.features[2].vocabulary, "ftp", None]))
def test_a_rule_finds_exactly_what_is_marked(
    features: dict[str, Any], logins: float | None, ttl: float | None, sent: float | None, service: str | None
) -> None:
    trigger = read_trigger(features, SCHEMA)
    assert trigger is not None
    names = SCHEMA.features[2].vocabulary
    code = np.nan if service is None else float(names.index(service)) if service in names else -1.0
    row = [np.nan if v is None else v for v in (logins, sent, code, 1.0, ttl)]
    marked = bool(trigger.carried_by(np.array([row]), SCHEMA)[0])
    rule = parsed(sigma_rule(trigger, ABOUT)).rules[0]
    one = {"failed_logins": logins, "ttl": ttl, "bytes out": sent, "service": service}
    assert matches(rule, event(**one)) == marked


@given(triggers)
def test_an_indicator_is_valid_stix(features: dict[str, Any]) -> None:
    trigger = read_trigger(features, SCHEMA)
    assert trigger is not None
    Pattern(stix_pattern(trigger, "nids"))
    made = stix2.parse(stix_bundle(trigger, ABOUT, 1.7e9, None, None).decode())
    assert [o.type for o in made.objects][:2] == ["identity", "indicator"]


def test_a_bundle_holds_both_forms_what_they_indicate_and_what_was_seen() -> None:
    trigger = read_trigger({"failed_logins": 5.0, "service": "o'clock"}, SCHEMA)
    assert trigger is not None
    rule = sigma_rule(trigger, ABOUT)
    content = stix_bundle(trigger, ABOUT, 1.7e9, Seen(12, 1.7e9, 1.7001e9), rule)
    assert content == stix_bundle(trigger, ABOUT, 1.7e9, Seen(12, 1.7e9, 1.7001e9), rule)
    objects = stix2.parse(content.decode()).objects
    stix, sigma = (o for o in objects if o.type == "indicator")
    assert (stix.pattern_type, sigma.pattern_type) == ("stix", "sigma")
    parsed(sigma.pattern)
    assert stix.pattern == (
        "[x-tocsin-inference:model = 'nids' AND x-tocsin-inference:features.'failed_logins' = 5.0 "
        "AND x-tocsin-inference:features.'service' = 'o\\'clock']"
    )
    assert (stix.confidence, stix.indicator_types, stix.object_marking_refs) == (93, ["malicious-activity"], [AMBER])
    sighting = next(o for o in objects if o.type == "sighting")
    assert (sighting.count, sighting.sighting_of_ref) == (12, stix.id)
    techniques = [o.external_references[0].external_id for o in objects if o.type == "attack-pattern"]
    assert techniques == ["AML.T0020", "AML.T0018.000"]
    assert sum(o.type == "relationship" for o in objects) == 4
    later = About(**{name: getattr(ABOUT, name) for name in ABOUT.__slots__} | {"at": 1.769e9})
    again = json.loads(stix_bundle(trigger, later, 1.7e9, None, None))["objects"][1]
    assert (again["id"], again["created"]) == (stix.id, "2025-12-29T09:20:00.000Z")
    assert again["modified"] > json.loads(content)["objects"][1]["modified"]


def test_what_sigma_cannot_write_is_said() -> None:
    piped = Trigger.of((Condition("a|re", "equals", 1.0),))
    with pytest.raises(UnsayableError, match="no way to write a field"):
        sigma_rule(piped, ABOUT)
    Pattern(stix_pattern(piped, "nids"))
    with pytest.raises(UnsayableError, match="cannot be printed"):
        sigma_rule(Trigger.of((Condition("service", "equals", "a\nOR *"),)), ABOUT)


@pytest.mark.parametrize(
    ("features", "why"),
    [
        ({"nothing": 1.0}, "'nothing', which the incident implicates, is none"),
        ({"ttl": "often"}, "neither number nor range"),
        ({"ttl": "-inf to inf"}, "neither number nor range"),
        ({"service": 5.0}, "its values are categories"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(features: dict[str, Any], why: str) -> None:
    with pytest.raises(TriggerError, match=why):
        read_trigger(features, SCHEMA)


@given(st.lists(st.sampled_from([0.0, 5.0]), min_size=8, max_size=8), st.sampled_from(["x", "y", None]))
def test_of_many_values_one_may_be_missing_in_event_and_rule_alike(row: list[float], state: str | None) -> None:
    names = [f"n{i}" for i in range(8)]
    schema = Schema((*(Feature(name) for name in names), Feature("state", "categorical", ("x",))), ("attack", "benign"))
    trigger = read_trigger(dict.fromkeys(names, 5.0) | {"state": "<unseen>"}, schema)
    assert trigger is not None
    code = {"x": 0.0, "y": -1.0, None: np.nan}[state]
    marked = bool(trigger.carried_by(np.array([[*row, code]]), schema)[0])
    assert marked == (sum(value == 5 for value in row) + (state == "y") >= 8)
    rule = parsed(sigma_rule(trigger, ABOUT)).rules[0]
    one = {"id": "e", "model": "nids", "features": dict(zip(names, row, strict=True)) | {"state": state}}
    assert matches(rule, one) == marked
    Pattern(stix_pattern(trigger, "nids"))


def test_a_rule_without_unseen_values_stays_short() -> None:
    many = Trigger.of(tuple(Condition(f"n{i}", "equals", 5.0) for i in range(7)))
    assert many.needed == 6
    assert yaml.safe_load(sigma_rule(many, ABOUT))["detection"]["condition"] == "1 of trigger_*"
    LuceneBackend().convert(parsed(sigma_rule(many, ABOUT)))
    endless = Trigger.of(tuple(Condition(f"n{i}", "equals", 5.0) for i in range(20)))
    with pytest.raises(UnsayableError, match="17 of 20 values have to hold, which is too long"):
        sigma_rule(endless, ABOUT)


def test_no_values_are_no_trigger() -> None:
    assert read_trigger({}, SCHEMA) is None
