"""Pipeline faults are found, named and located; honest change is left to others."""

from __future__ import annotations

import numpy as np
import pytest
from session_stream import NUMERIC, Change, reference, window

from detectors.batch import Floats, Strings
from detectors.evidence import Budget, Evidence
from detectors.pipeline_fault import Parameters, PipelineFault

ONE = "sensor-2"


def run(budget: Budget, seed: int, windows: int, change: Change | None = None) -> list[Evidence]:
    rng = np.random.default_rng(seed)
    detector = PipelineFault(Parameters(), budget, np.random.default_rng(seed))
    detector.fit(reference(rng, 9000))
    return [detector.observe(window(rng, i, change=change), None) for i in range(windows)]


def assign(feature: int, value: float, only: str | None = None) -> Change:
    def change(x: Floats, source: Strings) -> Floats:
        x[(source == only) if only else slice(None), feature] = value
        return x

    return change


def multiply(features: tuple[int, ...], factor: float, only: str | None = None) -> Change:
    def change(x: Floats, source: Strings) -> Floats:
        x[np.ix_((source == only) if only else np.ones(len(x), bool), features)] *= factor
        return x

    return change


def logarithm(x: Floats, source: Strings) -> Floats:
    x[:, 3] = np.log1p(x[:, 3])
    return x


def rename(only: str | None = None) -> Change:
    def change(x: Floats, source: Strings) -> Floats:
        rows = (x[:, NUMERIC] == 0) & ((source == only) if only else True)
        x[rows, NUMERIC] = -1
        return x

    return change


def new_value(x: Floats, source: Strings) -> Floats:
    """A service that nobody knew, beside all the old ones."""
    x[::10, NUMERIC] = -1
    return x


@pytest.mark.parametrize(
    ("change", "cause", "feature"),
    [
        (assign(3, np.nan), "nulls", "n3"),
        (rename(), "unseen", "c0"),
        (multiply((3,), 8.0), "unit", "n3"),
        (multiply((3,), 1000.0), "unit", "n3"),
        (logarithm, "unit", "n3"),
        (assign(3, 17.0), "frozen", "n3"),
        (assign(3, 0.0), "zeroed", "n3"),
    ],
)
def test_a_fault_of_all_sources_is_named_within_three_windows(change: Change, cause: str, feature: str) -> None:
    last = run(Budget(), 4, 3, change)[-1]
    assert last.status == "fired"
    assert last.facts["cause"] == cause
    assert last.facts["features"] == [feature]
    assert last.facts["everywhere"]
    assert last.facts["confined"]
    assert list(last.implicated.features) == [feature]


@pytest.mark.parametrize(
    ("change", "cause", "feature"),
    [
        (assign(3, np.nan, ONE), "nulls", "n3"),
        (rename(ONE), "unseen", "c0"),
        (multiply((3,), 1000.0, ONE), "unit", "n3"),
        (assign(3, 17.0, ONE), "frozen", "n3"),
    ],
)
def test_a_fault_of_one_source_is_located(change: Change, cause: str, feature: str) -> None:
    fired = [e for e in run(Budget(), 5, 8, change) if e.status == "fired"]
    assert fired[-1].facts["cause"] == cause
    assert feature in fired[-1].facts["features"]
    assert fired[-1].facts["sources"] == [ONE]
    assert fired[-1].implicated.sources == (ONE,)
    assert not fired[-1].facts["everywhere"]


@pytest.mark.parametrize(
    "change",
    [
        multiply((3,), 2.0),  # one feature, within reach of its neighbours
        multiply(tuple(range(NUMERIC)), 8.0),  # everything is larger: more traffic
        new_value,
    ],
)
def test_honest_changes_are_no_fault(change: Change) -> None:
    for seed in range(3):
        seen = run(Budget(), seed, 8, change)
        assert [e.status for e in seen] == ["ok"] * 8
        assert seen[-1].facts == {"cause": None}


def test_false_alarms_stay_within_a_small_budget() -> None:
    budget = 2_000.0
    fired = sum(run(Budget(budget, budget), seed, 15)[-1].status == "fired" for seed in range(8))
    assert fired <= 8 * 15 * 1000 / 6 / budget


def test_a_source_without_a_past_cannot_alarm_alone() -> None:
    def strange(x: Floats, source: Strings) -> Floats:
        rows = source == ONE
        x[rows, 3] = np.nan
        source[rows] = "new-sensor"
        return x

    seen = run(Budget(), 6, 3, strange)
    assert all("new-sensor" not in e.facts.get("sources", []) or e.facts["everywhere"] for e in seen)


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match="unit_ratio"):
        Parameters(unit_ratio=1.0)
    with pytest.raises(ValueError, match="outside"):
        Parameters(outside=0.0)
