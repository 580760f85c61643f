"""The scenarios make what they say; playing them is repeatable; rates have honest bounds."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest
from separation import goals
from separation.models import FAMILIES
from separation.play import Settings, play
from separation.plots import charts
from separation.rates import Row, rate
from separation.report import balanced_accuracy
from separation.run import told
from separation.scenario import Scenario, Unsuited, scenarios
from separation.tables import load
from separation.texts import text_features
from separation.world import Setting

from detectors.batch import Floats


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting(load("soc", None, 1), "boosting", 1)


@pytest.mark.parametrize("name", sorted(scenarios()))
def test_every_scenario_makes_an_episode_whose_truth_fits_it(setting: Setting, name: str) -> None:
    scenario: Scenario = scenarios()[name]
    try:
        made = scenario.make(setting, scenario.strengths[0])
    except Unsuited as reason:
        assert str(reason)  # noqa: PT017 - the message is what is promised
        return
    assert made.truth.expected
    assert len(made.events) >= 4000
    assert made.score_f(made.events.x[:50]).shape == (50, len(made.world.schema.classes))
    assert np.allclose(made.score_f(made.events.x[:50]).sum(axis=1), 1.0)
    assert np.all(made.feedback.row < len(made.events))
    if made.truth.trigger and "poisoning" in made.truth.expected:
        columns = [made.world.schema.names.index(n) for n in made.truth.trigger]
        stamped = made.events.x[made.events.touched][:, columns]
        assert np.all(stamped == list(made.truth.trigger.values()))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_makes_the_same_stream_and_models(family: str) -> None:
    rows = load("soc", None, 4)

    def scores() -> Floats:
        made = scenarios()["backdoor"].make(Setting(rows, family, 4), {"rate": 0.01, "features": 3})  # type: ignore[arg-type]
        return made.score_f(made.events.x[:200])

    assert np.array_equal(scores(), scores())


def test_sites_divide_their_rows_without_overlap(setting: Setting) -> None:
    parts = setting.world().parts
    used = np.concatenate([parts.train, parts.reference, parts.new, parts.stream])
    assert len(np.unique(used)) == len(used)


def test_a_held_out_kind_is_unknown_to_the_good_model_and_the_reference(setting: Setting) -> None:
    kind = setting.world().kinds(benign=False)[0]
    world = setting.world((kind,))
    assert kind not in world.reference.kind
    assert kind not in world.rows.kind[world.train_rows]
    assert kind in world.rows.kind[world.parts.stream]


def test_playing_twice_says_the_same(setting: Setting) -> None:
    made = scenarios()["backdoor"].make(setting, {"rate": 0.01, "features": 8})
    once, again = (told(made, play(made, seed=3)) for _ in range(2))
    assert once == again
    assert once["called"] == "poisoning"


def test_nobody_is_asked_where_the_budget_is_nothing(setting: Setting) -> None:
    made = scenarios()["backdoor"].make(setting, {"rate": 0.01, "features": 8})
    outcome = play(made, Settings(budget=0))
    assert outcome.asked == ()
    assert outcome.called in ("inconclusive", "stable")


def test_bounds_count_sites_and_not_episodes() -> None:
    rows: list[Row] = [{"data": "a", "seed": s, "hit": s == 0} for s in range(10) for _ in range(30)]
    never, some = rate(rows, lambda _: False), rate(rows, lambda r: r["hit"])
    assert (never.n, never.clusters) == (300, 10)
    assert never.high == pytest.approx(0.2589, abs=1e-3)
    assert some.high >= 0.2


def test_texts_become_numbers_of_the_same_columns() -> None:
    made = text_features(np.array(["", "a.b", "SELECT 1"]))
    assert made["length"].tolist() == [0, 3, 8]
    assert made["upper"].tolist() == [0, 0, 6]
    assert all(np.isfinite(column).all() for column in made.values())


def _row(scenario: str, strength: str, called: str, *, seed: int = 1) -> Row:
    expected = ["poisoning"] if scenario == "backdoor" else ["drift", "stable"]
    return {
        "data": "soc", "seed": seed, "scenario": scenario, "strength": strength, "settings": "{}", "called": called,
        "expected": expected, "effective": True, "confidence": 0.95, "tentative": False, "touched": 30,
        "touched_before_call": 0, "touched_at_call": 4, "asked": 4, "asked_of_buffer": 2, "votes": 1000,
    }  # fmt: skip


def test_each_goal_counts_its_own_episodes_and_says_whether_it_is_reached() -> None:
    backdoor = '{"rate": 0.01, "features": 3}'
    rows = [_row("backdoor", backdoor, "poisoning", seed=s) for s in range(9)]
    rows += [_row("backdoor", backdoor, "drift", seed=9), _row("stable", "{}", "stable", seed=9)]
    lines = {line.split("|")[1].strip(): line.split("|")[2:] for line in goals.table(rows).splitlines()[2:]}
    assert lines["- at a rate of 1.0%"][1].strip().startswith("9/10 = 0.900")
    assert lines["- at a rate of 1.0%"][3].strip() == "**no**"
    assert lines["everything honest called poisoning"][1].strip().startswith("0/1")
    assert lines["everything honest called poisoning"][3].strip() == "open"
    assert lines["probing by 30 events called evasion"][1].strip() == "-"


def test_balanced_accuracy_counts_what_may_be_called_either_for_neither() -> None:
    poison = [_row("backdoor", "{}", called) for called in ("poisoning", "stable", "inconclusive", "poisoning")]
    drift = [_row("new_family", "{}", called) for called in ("drift", "stable", "inconclusive", "fault")]
    either = [_row("adaptation", "{}", "poisoning") | {"expected": ["drift", "poisoning"]}]
    assert balanced_accuracy([*poison, *drift]) == pytest.approx(0.5)
    assert balanced_accuracy([*poison, *drift, *either * 9]) == pytest.approx(0.5)
    assert np.isnan(balanced_accuracy(either))


def test_few_sites_bound_nothing_where_they_differ() -> None:
    rows = [{"data": "a", "seed": s} for s in range(4)]
    found = rate(rows, lambda r: r["seed"] == 0)
    assert (found.low, found.high) == (0.0, 1.0)


def test_pictures_are_drawn_of_what_there_is() -> None:
    backdoor = '{"rate": 0.01, "features": 3}'
    rows = [_row("backdoor", backdoor, "poisoning", seed=s) for s in range(5)]
    rows += [_row("honest_retrain", "{}", "drift", seed=s) for s in range(5)]
    made = charts(rows)
    assert set(made) == {"by_rate.svg", "by_features.svg", "reliability.svg"}
    for text in made.values():
        assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 - our own text
    assert "n=5" in made["by_rate.svg"]
