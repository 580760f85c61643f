"""Metrics: their names are public, their number is bounded."""

from __future__ import annotations

import math
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from monitor.watching.metrics import TOP_FEATURES, Metrics

SNAPSHOT = """
tocsin_actions_total action,model,outcome
tocsin_build_info version
tocsin_checkpoint_age_seconds
tocsin_claimed_trust_total model
tocsin_detector_contribution detector,feature,model,version
tocsin_detector_e_value detector,model,version
tocsin_detector_figure detector,gauge,model,version
tocsin_detector_score detector,model,version
tocsin_detector_status detector,model,status,version
tocsin_detector_threshold detector,model,version
tocsin_duplicates_total model
tocsin_events_total model,version
tocsin_future_events_total model
tocsin_id_conflicts_total model
tocsin_importance_ratio feature,model,of,version
tocsin_incident_findings_dismissed_total model
tocsin_incident_findings_folded_total model
tocsin_incidents_open model
tocsin_incidents_total activity,family,model
tocsin_labels_pending model
tocsin_labels_total model,outcome,trust
tocsin_late_events_total model
tocsin_lines_dropped_total
tocsin_loop_turn_seconds_bucket le
tocsin_loop_turn_seconds_count
tocsin_loop_turn_seconds_sum
tocsin_quarantined_total model,reason
tocsin_responses_waiting model
tocsin_source_errors_total
tocsin_source_lag_messages partition,topic
tocsin_verdict family,model,version
tocsin_verdict_confidence_ratio model,version
tocsin_verdict_family_confidence_ratio model,version
tocsin_vetting_total model,outcome
tocsin_window_event_timestamp_seconds model,version
tocsin_window_judged_timestamp_seconds model,version
tocsin_windows_total model,version
"""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry, clock: Clock) -> Metrics:
    return Metrics(registry, "1.2.3", clock)


def record(version: str = "1", family: str = "stable", **changes: Any) -> dict[str, Any]:
    detector = {
        "status": "ok",
        "score": 0.5,
        "threshold": 2.0,
        "e_value": 1.5,
        "gauges": {"entropy_p50": 0.25},
        "top": [{"name": "port", "contribution": 0.5}, {"name": "sensor-7", "contribution": 0.125}],
        "facts": {"importance": {"port": 0.75, "sensor-7": 0.125}},
    }
    return {
        "model": "nids",
        "version": version,
        "index": 0,
        "at": 950.0,
        "events": 10,
        "detectors": {"prediction_entropy": detector | changes},
        "verdict": {"family": family, "hypothesis": None, "confidence": 0.75, "family_confidence": 0.875},
    }


def touch_everything(metrics: Metrics) -> None:
    metrics.features("nids", ["port"])
    metrics.events("nids", "1", 5)
    metrics.quarantined("nids", "bad_json", 2)
    metrics.duplicates("nids", 1)
    metrics.conflicts("nids", 1)
    metrics.late("nids", 1)
    metrics.future("nids", 1)
    metrics.labels("nids", "joined", trusted=True)
    metrics.labels_pending("nids", 3)
    metrics.claimed_trust("nids")
    metrics.vetting("nids", "asked", 4)
    metrics.window(record())
    metrics.incidents_open("nids", 1)
    metrics.incident("nids", "drift", "create")
    metrics.action("nids", "rollback", "done")
    metrics.responses_waiting("nids", 1)
    metrics.lag({("soc.inference", 0): 7})
    metrics.source_error()
    metrics.line_dropped(1)
    metrics.checkpointed()
    metrics.turn(0.02)


def samples(registry: CollectorRegistry) -> list[Any]:
    return [sample for family in registry.collect() for sample in family.samples]


def test_names_and_labels_are_those_that_dashboards_rely_on(metrics: Metrics, registry: CollectorRegistry) -> None:
    touch_everything(metrics)
    found = {f"{s.name} {','.join(sorted(s.labels))}".strip() for s in samples(registry)}
    assert "\n".join(sorted(found)) == SNAPSHOT.strip()


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("tocsin_build_info", {"version": "1.2.3"}, 1.0),
        ("tocsin_events_total", {"model": "nids", "version": "1"}, 5.0),
        ("tocsin_quarantined_total", {"model": "nids", "reason": "bad_json"}, 2.0),
        ("tocsin_labels_total", {"model": "nids", "outcome": "joined", "trust": "trusted"}, 1.0),
        ("tocsin_source_lag_messages", {"topic": "soc.inference", "partition": "0"}, 7.0),
        ("tocsin_verdict", {"model": "nids", "version": "1", "family": "stable"}, 1.0),
        ("tocsin_verdict", {"model": "nids", "version": "1", "family": "poisoning"}, 0.0),
        ("tocsin_verdict_confidence_ratio", {"model": "nids", "version": "1"}, 0.75),
        ("tocsin_verdict_family_confidence_ratio", {"model": "nids", "version": "1"}, 0.875),
        ("tocsin_detector_e_value", {"model": "nids", "version": "1", "detector": "prediction_entropy"}, 1.5),
    ],
)
def test_what_is_counted_is_what_is_scraped(
    metrics: Metrics, registry: CollectorRegistry, name: str, labels: dict[str, str], value: float
) -> None:
    touch_everything(metrics)
    assert registry.get_sample_value(name, labels) == value


def test_exactly_one_family_and_one_status_hold(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.window(record(family="drift"))
    metrics.window(record(family="poisoning", status="fired"))
    assert [s.labels["family"] for s in samples(registry) if s.name == "tocsin_verdict" and s.value] == ["poisoning"]
    holding = [s.labels["status"] for s in samples(registry) if s.name == "tocsin_detector_status" and s.value]
    assert holding == ["fired"]


def test_only_features_of_the_schema_become_labels(metrics: Metrics, registry: CollectorRegistry) -> None:
    touch_everything(metrics)
    shown = {s.labels["feature"]: s.value for s in samples(registry) if s.name == "tocsin_detector_contribution"}
    assert shown == {"port": 0.5, "other": 0.125}


def test_importances_name_features_of_the_schema_and_sum_to_one(metrics: Metrics, registry: CollectorRegistry) -> None:
    touch_everything(metrics)
    shown = {s.labels["feature"]: s.value for s in samples(registry) if s.name == "tocsin_importance_ratio"}
    assert shown == {"port": 0.75, "other": 0.25}


def test_a_window_says_when_it_was_judged_and_how_far_event_time_has_come(
    metrics: Metrics, registry: CollectorRegistry, clock: Clock
) -> None:
    which = {"model": "nids", "version": "1"}
    metrics.window(record())
    clock.now += 60.0
    metrics.window(record() | {"events": 0, "at": 990.0})
    assert registry.get_sample_value("tocsin_window_judged_timestamp_seconds", which) == 1060.0
    assert registry.get_sample_value("tocsin_window_event_timestamp_seconds", which) == 950.0


def test_features_beyond_the_strongest_are_one_sum(metrics: Metrics, registry: CollectorRegistry) -> None:
    names = [f"f{i}" for i in range(50)]
    metrics.features("nids", names)
    metrics.window(record(top=[{"name": name, "contribution": 1.0} for name in names]))
    shown = {s.labels["feature"]: s.value for s in samples(registry) if s.name == "tocsin_detector_contribution"}
    assert len(shown) == TOP_FEATURES + 1
    assert sum(shown.values()) == 50.0


def test_a_series_that_a_window_no_longer_has_is_gone(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.features("nids", ["port", "bytes"])
    metrics.window(record())
    metrics.window(record(top=[{"name": "bytes", "contribution": 1.0}], e_value=None, gauges={}))
    names = {s.name for s in samples(registry)}
    assert [s.labels["feature"] for s in samples(registry) if s.name == "tocsin_detector_contribution"] == ["bytes"]
    assert not names & {"tocsin_detector_e_value", "tocsin_detector_figure"}


def test_a_window_without_events_changes_the_verdict_and_no_rate_of_events(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    def value(name: str, **labels: str) -> float | None:
        which = {"model": "nids", "version": "1", "detector": "prediction_entropy"} | labels
        return registry.get_sample_value(f"tocsin_detector_{name}", which)

    metrics.features("nids", ["port"])
    metrics.window(record())
    nothing = record(family="poisoning", score=0.0, e_value=9.0, gauges={"entropy_p50": 0.0}, top=[]) | {"events": 0}
    metrics.window(nothing)
    assert value("figure", gauge="entropy_p50") == 0.25
    assert value("contribution", feature="port") == 0.5
    assert value("e_value") == 9.0
    family = {"model": "nids", "version": "1", "family": "poisoning"}
    assert registry.get_sample_value("tocsin_verdict", family) == 1.0
    metrics.window(record(gauges={}))
    assert value("figure", gauge="entropy_p50") is None


def test_gauges_of_versions_long_gone_are_dropped(metrics: Metrics, registry: CollectorRegistry) -> None:
    for version in range(100):
        metrics.window(record(str(version)))
    shown = {s.labels["version"] for s in samples(registry) if s.name == "tocsin_detector_score"}
    assert shown == {str(version) for version in range(68, 100)}


def test_a_scrape_never_finds_the_lag_of_a_partition_that_is_ours_missing(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    seen: list[float | None] = []

    class Scraped(dict[tuple[str, int], int]):
        """A scrape comes while it is read."""

        def items(self) -> Any:
            for item in super().items():
                yield item
                seen.append(registry.get_sample_value("tocsin_source_lag_messages", which))

    which = {"topic": "soc.inference", "partition": "0"}
    metrics.lag({("soc.inference", 0): 7})
    metrics.lag(Scraped({("soc.inference", 1): 3, ("soc.inference", 0): 5}))
    assert seen == [7.0, 7.0]
    assert registry.get_sample_value("tocsin_source_lag_messages", which) == 5.0


def test_a_model_that_is_watched_no_longer_has_a_series_of_incidents_only_while_one_is_open(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.features("nids", ["port"])
    for n, shown in ((1, 1.0), (0, None)):
        metrics.incidents_open("gone", n)
        assert registry.get_sample_value("tocsin_incidents_open", {"model": "gone"}) == shown
    metrics.incidents_open("nids", 0)
    assert registry.get_sample_value("tocsin_incidents_open", {"model": "nids"}) == 0.0


def test_every_reason_not_to_read_a_message_is_there_before_it_occurs(
    metrics: Metrics,
    registry: CollectorRegistry,
) -> None:
    for reason in ("bad_json", "unknown_model", "feature_count"):
        assert registry.get_sample_value("tocsin_quarantined_total", {"model": "-", "reason": reason}) == 0.0


def test_lag_of_partitions_that_went_away_is_forgotten(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.lag({("t", 0): 5, ("t", 1): 6})
    metrics.lag({("t", 1): 4})
    shown = {s.labels["partition"]: s.value for s in samples(registry) if s.name == "tocsin_source_lag_messages"}
    assert shown == {"1": 4.0}


def test_the_age_of_the_checkpoint_grows_though_the_loop_hangs(
    metrics: Metrics, registry: CollectorRegistry, clock: Clock
) -> None:
    before = registry.get_sample_value("tocsin_checkpoint_age_seconds")
    assert before is not None
    assert math.isnan(before)
    metrics.checkpointed()
    clock.now += 42
    assert registry.get_sample_value("tocsin_checkpoint_age_seconds") == 42.0


def test_a_figure_that_json_could_not_hold_is_no_number(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.window(record(score=None, threshold=None, gauges={"psi": None}))
    labels = {"model": "nids", "version": "1", "detector": "prediction_entropy"}
    score = registry.get_sample_value("tocsin_detector_score", labels)
    assert score is not None
    assert math.isnan(score)


def test_two_processes_in_one_do_not_share_figures(clock: Clock) -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    Metrics(first, "1", clock).duplicates("nids", 1)
    Metrics(second, "1", clock)
    assert first.get_sample_value("tocsin_duplicates_total", {"model": "nids"}) == 1.0
    assert second.get_sample_value("tocsin_duplicates_total", {"model": "nids"}) is None


def test_what_has_not_happened_yet_is_counted_as_nothing(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.features("nids", ["port"])
    halted = {"model": "nids", "action": "rollback", "outcome": "halted"}
    assert registry.get_sample_value("tocsin_actions_total", halted) == 0.0
    found = {sample.name for sample in samples(registry) if sample.labels.get("model") == "nids"}
    assert {"tocsin_incidents_total", "tocsin_vetting_total", "tocsin_labels_total", "tocsin_incidents_open"} <= found
