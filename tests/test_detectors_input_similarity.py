"""Input similarity: the stated run length on correlated sessions, and what it finds."""

from __future__ import annotations

import numpy as np
import pytest
from session_stream import NUMERIC, Change, reference, schema, window

from detectors.batch import Floats, Strings
from detectors.evidence import Budget, Evidence
from detectors.input_similarity import InputSimilarity, Parameters
from detectors.nulls.block_null import first_of_sessions
from detectors.nulls.marginals import Marginals
from detectors.nulls.random_features import MeanDiscrepancy
from detectors.nulls.source_marginals import SourceMarginals


def run(budget: Budget, seed: int, windows: int, change: Change | None = None, mean: float = 6.0) -> list[Evidence]:
    rng = np.random.default_rng(seed)
    detector = InputSimilarity(Parameters(), budget, np.random.default_rng(seed))
    detector.fit(reference(rng))
    return [detector.observe(window(rng, i, change=change, mean_session=mean), None) for i in range(windows)]


def scaled(feature: int, factor: float) -> Change:
    def change(x: Floats, source: Strings) -> Floats:
        x[:, feature] *= factor
        return x

    return change


def renamed(x: Floats, source: Strings) -> Floats:
    x[x[:, NUMERIC + 1] == 0, NUMERIC + 1] = -1
    return x


def twisted(x: Floats, source: Strings) -> Floats:
    """Every marginal stays, the dependence between features goes."""
    rng = np.random.default_rng(int(np.nan_to_num(x[0, 1]) * 1e6))
    for j in range(NUMERIC):
        x[:, j] = rng.permutation(x[:, j])
    return x


@pytest.mark.parametrize("mean", [1.0, 6.0, 20.0])
def test_false_alarms_stay_within_a_small_budget_however_long_sessions_are(mean: float) -> None:
    budget = 5_000.0
    fired = sum(run(Budget(budget, budget), seed, 15, mean=mean)[-1].status == "fired" for seed in range(6))
    assert fired <= 6 * 15 * 1000 / mean / budget


def test_p_values_of_clean_windows_are_super_uniform() -> None:
    p, joint = [], []
    for seed in range(4):
        rng = np.random.default_rng([7, seed])
        held = reference(rng)
        x = held.x[first_of_sessions(held.session)]
        marginals = Marginals(schema(), x, 0.025, rng)
        discrepancy = MeanDiscrepancy(marginals, x, 0.025, rng)
        for index in range(25):
            one = window(rng, index)
            votes = one.batch.x[first_of_sessions(one.batch.session, one.fresh)]
            p.append(marginals.p_values(votes)[0])
            joint.append(discrepancy.test(votes)[1])
    assert np.mean(np.array(p) <= 0.05) <= 0.05
    assert np.mean(np.array(p) <= 0.005) <= 0.005
    assert np.mean(np.array(joint) <= 0.05) <= 0.05


@pytest.mark.parametrize(("change", "name"), [(scaled(3, 8.0), "n3"), (renamed, "c1")])
def test_a_moved_feature_alarms_within_two_windows_and_is_named(change: Change, name: str) -> None:
    for seed in range(3):
        seen = run(Budget(), seed, 2, change)
        assert seen[-1].status == "fired"
        assert seen[-1].top[0].name == name
        assert seen[-1].facts["drifted"] == [name]


def test_the_joint_test_sees_a_change_that_no_marginal_shows() -> None:
    seen = run(Budget(), 2, 4, twisted, mean=1.0)
    assert seen[-1].status == "fired"
    assert seen[-1].gauges["drifted_share"] == 0.0
    assert seen[-1].gauges["mmd_p"] < 0.01


def test_clean_windows_call_no_feature_drifted() -> None:
    shares = [e.gauges["drifted_share"] for seed in range(3) for e in run(Budget(), seed, 8)]
    assert np.mean(np.array(shares) > 0) <= 0.05


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match="discovery_rate"):
        Parameters(discovery_rate=0)
    with pytest.raises(ValueError, match="min_sessions"):
        Parameters(min_sessions=1)


def at(name: str, change: Change) -> Change:
    def there(x: Floats, source: Strings) -> Floats:
        return np.where((source == name)[:, None], change(x.copy(), source), x)

    return there


@pytest.mark.parametrize("feature", [3, 8])
def test_another_unit_at_one_of_eight_sources_alarms_and_names_both(feature: int) -> None:
    for seed in range(3):
        seen = run(Budget(), seed, 8, at("sensor-5", scaled(feature, 1000.0)))
        assert seen[-1].status == "fired"
        assert seen[-1].facts["sources"] == {"sensor-5": [f"n{feature}"]}


def test_p_values_by_source_are_super_uniform() -> None:
    p = []
    for seed in range(5):
        rng = np.random.default_rng([8, seed])
        held = reference(rng)
        rows = first_of_sessions(held.session)
        own = SourceMarginals(held.x[rows], held.source[rows], np.ones(held.x.shape[1]), 0.05, 16)
        for index in range(20):
            one = window(rng, index)
            votes = first_of_sessions(one.batch.session, one.fresh)
            p.append(own.p_values(one.batch.x[votes], one.batch.source[votes])[0])
    assert np.mean(np.array(p) <= 0.2) <= 0.2
    assert np.mean(np.array(p) <= 0.01) <= 0.01


def test_sources_that_the_reference_hardly_knows_are_not_tested_by_themselves() -> None:
    x, source = np.zeros((100, 2)), np.repeat(["a", "b", "c"], [60, 30, 10])
    assert SourceMarginals(x, source, np.ones(2), 0.05, 16).names == ("a", "b")
    assert SourceMarginals(x, source, np.ones(2), 0.05, 1).names == ()
    assert SourceMarginals(x, np.full(100, "-"), np.ones(2), 0.05, 16).names == ()
