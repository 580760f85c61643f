"""The traffic generator: what its flows have in common with real ones, and how drift is made."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from monitor.demo.families import ATTACKS, FAMILIES, NAMES
from monitor.demo.flows import BINARY, CATEGORICAL, FEATURES, NUMERIC, Flows
from monitor.demo.traffic import DAY, TrafficConfig, generate

START = 1_700_000_000.0


def flows_of(config: TrafficConfig, flows: int = 20_000, seed: int = 1, start: float = START) -> Flows:
    return generate(config, np.random.default_rng(seed), flows, start)


@pytest.fixture(scope="module")
def flows() -> Flows:
    return flows_of(TrafficConfig())


def test_the_same_seed_gives_the_same_flows_and_another_seed_gives_others(flows: Flows) -> None:
    again = flows_of(TrafficConfig())
    for name in flows.arrays():
        assert getattr(again, name).tobytes() == getattr(flows, name).tobytes(), name
    assert flows_of(TrafficConfig(), seed=2).x.tobytes() != flows.x.tobytes()


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_exactly_as_many_flows_as_asked_for_in_time_order_with_unique_ids(n: int) -> None:
    made = flows_of(TrafficConfig(), n)
    assert len(made) == n
    assert np.all(np.diff(made.ts) >= 0)
    assert made.ts[0] >= START
    assert len(set(made.id.tolist())) == n


def test_ids_and_sessions_of_two_calls_do_not_meet(flows: Flows) -> None:
    later = flows_of(TrafficConfig(), start=float(flows.ts[-1]) + 1)
    assert not set(flows.id.tolist()) & set(later.id.tolist())
    assert not set(flows.session.tolist()) & set(later.session.tolist())


def test_sessions_have_six_flows_on_average_of_one_source_and_family(flows: Flows) -> None:
    sizes = Counter(flows.session.tolist())
    assert 5.5 < len(flows) / len(sizes) < 6.5
    assert max(sizes.values()) > 25
    pairs = {*zip(flows.session.tolist(), flows.source.tolist(), flows.family.tolist(), strict=True)}
    assert len(pairs) == len(sizes)


def test_flows_of_a_session_resemble_each_other_far_more_than_those_of_a_family(flows: Flows) -> None:
    web = flows.take(flows.family == "web")
    volume = np.log1p(web.x["bytes_in"])
    _, of = np.unique(web.session, return_inverse=True)
    means = np.bincount(of, volume) / np.bincount(of)
    within = np.mean((volume - means[of]) ** 2)
    assert within < 0.4 * volume.var()


@pytest.mark.parametrize("name", ["bytes_out", "bytes_in", "duration", "service_flows"])
def test_volumes_durations_and_counts_have_heavy_tails(flows: Flows, name: str) -> None:
    values = flows.x[name]
    top = np.sort(values)[-len(values) // 100 :].sum()
    assert top > 0.15 * values.sum(), "the top hundredth carries far more than its share"
    assert np.quantile(values, 0.999) > 20 * np.median(values[values > 0])


@pytest.mark.parametrize("name", ["urgent", "wrong_fragments", "shells"])
def test_rare_features_hardly_ever_leave_zero_in_either_class(name: str) -> None:
    made = flows_of(TrafficConfig(), 60_000)
    raised = made.x[name] > 0
    assert 0 < raised.mean() < 0.01
    assert set(made.label[raised]) == {"benign", "attack"}


def test_every_feature_varies_and_only_the_entropy_is_ever_missing(flows: Flows) -> None:
    assert len(FEATURES) == len(CATEGORICAL) + len(BINARY) + len(NUMERIC) == 24
    for name in FEATURES:
        values = flows.x[name]
        assert len(np.unique(values)) > 1, name
        if name not in CATEGORICAL:
            assert np.isnan(values).any() == (name == "payload_entropy"), name
    for name in BINARY:
        assert set(np.unique(flows.x[name])) == {0.0, 1.0}


def test_sensors_differ_in_their_mix_and_keep_it(flows: Flows) -> None:
    def shares(made: Flows, sensor: str) -> np.ndarray:
        own = made.family[made.source == sensor]
        return np.array([np.mean(own == name) for name in NAMES])

    assert len(set(flows.source.tolist())) == 12
    later = flows_of(TrafficConfig(), seed=3)
    same = np.abs(shares(flows, "sensor-01") - shares(later, "sensor-01")).sum()
    other = np.abs(shares(flows, "sensor-01") - shares(flows, "sensor-02")).sum()
    assert other > 2 * same


def test_arrivals_follow_the_day() -> None:
    made = flows_of(TrafficConfig(flows_per_day=20_000), 20_000, start=DAY * 19_000)
    hour = (made.ts % DAY / 3600).astype(int)
    by_day, by_night = np.isin(hour, [12, 13, 14, 15]).sum(), np.isin(hour, [0, 1, 2, 3]).sum()
    assert by_day > 2 * by_night


def test_families_follow_the_hour_where_the_mix_swings() -> None:
    made = flows_of(TrafficConfig(flows_per_day=20_000, daily_mix=1.0), 20_000, start=DAY * 19_000)
    hour = made.ts % DAY / 3600
    backup = made.family == "backup"
    assert backup[hour < 5].mean() > 3 * backup[(hour > 11) & (hour < 17)].mean()


def test_a_family_that_is_held_out_does_not_occur_and_appears_later(flows: Flows) -> None:
    without = flows_of(TrafficConfig(held_out=("worm", "collaboration")))
    assert not np.isin(without.family, ["worm", "collaboration"]).any()
    assert {"worm", "collaboration"} <= set(flows.family)


def test_a_factor_of_the_mix_changes_how_often_a_family_occurs(flows: Flows) -> None:
    more = flows_of(TrafficConfig(mix={"voip": 4.0}))
    assert 2.5 < np.mean(more.family == "voip") / np.mean(flows.family == "voip") < 4.5


def test_volume_moves_inputs_and_leaves_labels_alone(flows: Flows) -> None:
    grown = flows_of(TrafficConfig(volume=3.0))
    assert grown.label.tolist() == flows.label.tolist()
    carried = flows.x["bytes_in"] > 100
    assert np.allclose(grown.x["bytes_in"][carried] / flows.x["bytes_in"][carried], 3.0, rtol=0.02)


def test_a_moved_rule_turns_labels_and_leaves_inputs_alone(flows: Flows) -> None:
    moved = flows_of(TrafficConfig(moved_rule=("remote_admin",)))
    assert moved.x.tobytes() == flows.x.tobytes()
    turned = moved.label != flows.label
    assert set(moved.family[turned]) == {"remote_admin"}
    assert set(moved.label[turned]) == {"attack"}


def test_labels_follow_the_family(flows: Flows) -> None:
    attacks = {family.name for family in ATTACKS}
    assert np.array_equal(flows.label == "attack", np.isin(flows.family, list(attacks)))
    assert 0.1 < np.mean(flows.label == "attack") < 0.4


def test_every_twin_is_a_family_of_the_other_class() -> None:
    label = {family.name: family.label for family in FAMILIES}
    assert all(label[family.twin] != family.label for family in FAMILIES)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"held_out": ("wurm",)}, "no such traffic family: \\['wurm'\\]"),
        ({"held_out": NAMES}, "at least one family"),
        ({"mix": {"web": 0.0}}, "greater than 0"),
        ({"ambiguity": 1.5}, "ambiguity: must lie between 0 and 1"),
        ({"sensors": 0}, "at least 1"),
        ({"volume": -1.0}, "greater than 0"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(TrafficConfig(), **change)  # type: ignore[arg-type]  # wrong on purpose
