"""The scenarios make what they say; playing them is repeatable; rates have honest bounds."""

from __future__ import annotations

import numpy as np
import pytest
from separation.models import FAMILIES
from separation.play import Settings, play
from separation.report import Row, rate
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
