"""Pipeline faults are found, named and located; honest change is left to others."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from session_stream import NUMERIC, Change, reference, window

from detectors.batch import Floats, Strings
from detectors.evidence import Budget, Evidence, State
from detectors.pipeline_fault import Parameters, PipelineFault

ONE = "sensor-2"


@cache
def learned(budget: Budget) -> tuple[PipelineFault, State]:
    detector = PipelineFault(Parameters(), budget, np.random.default_rng(9))
    detector.fit(reference(np.random.default_rng(9), 9000))
    return detector, detector.state()


def fitted(budget: Budget | None = None) -> PipelineFault:
    """One that has observed nothing; there is one of each budget, so use it up before the next is taken."""
    detector, fresh = learned(budget or Budget())
    detector.restore(fresh)
    return detector


def run(seed: int, windows: int, change: Change | None = None) -> list[Evidence]:
    rng = np.random.default_rng(seed)
    detector = fitted()
    return [detector.observe(window(rng, i, change=change), None) for i in range(windows)]


def assign(feature: int, value: float, only: str | None = None, share: float = 1.0) -> Change:
    rng = np.random.default_rng(3)

    def change(x: Floats, source: Strings) -> Floats:
        x[(rng.random(len(x)) < share) & ((source == only) if only else True), feature] = value
        return x

    return change


def multiply(features: tuple[int, ...], factor: float, only: str | None = None) -> Change:
    def change(x: Floats, source: Strings) -> Floats:
        x[np.ix_((source == only) if only else np.ones(len(x), bool), np.array(features))] *= factor
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
        (assign(3, -999.0, share=0.3), "sentinel", "n3"),
    ],
)
def test_a_fault_of_all_sources_is_named_within_three_windows(change: Change, cause: str, feature: str) -> None:
    last = run(4, 3, change)[-1]
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
        (multiply((3,), 8.0, ONE), "unit", "n3"),
        (multiply((3,), 0.125, ONE), "unit", "n3"),
        (assign(3, 17.0, ONE), "frozen", "n3"),
        (assign(3, 0.0, ONE), "zeroed", "n3"),
        (assign(3, -999.0, ONE, share=0.5), "sentinel", "n3"),
    ],
)
def test_a_fault_of_one_source_is_located(change: Change, cause: str, feature: str) -> None:
    fired = [e for e in run(5, 8, change) if e.status == "fired"]
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
        seen = run(seed, 8, change)
        assert [e.status for e in seen] == ["ok"] * 8
        assert seen[-1].facts["cause"] is None


@pytest.mark.parametrize("sessions", [500, 2000])
@pytest.mark.parametrize("mean_session", [1.0, 20.0])
def test_evidence_stays_below_its_budget_on_average_whatever_the_reference(sessions: int, mean_session: float) -> None:
    """The sum of all runs, before any closer look, reaches A within t sessions with probability t/A at most."""
    alarm, count, votes, reached = 2_000.0, 6, 0, 0
    for seed in range(count):
        rng = np.random.default_rng([seed, sessions])
        detector = PipelineFault(Parameters(), Budget(alarm, alarm), rng)
        detector.fit(reference(rng, 6 * sessions))
        seen = [detector.observe(window(rng, i, 500, mean_session=mean_session), None) for i in range(6)]
        votes += round(6 * 500 / mean_session)
        reached += max(e.score for e in seen) >= np.log(alarm)
        assert [e.status for e in seen] == ["ok"] * 6
    assert reached <= max(1.0, votes / alarm)


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        (multiply((3,), 8.0, ONE), {"n3": "x / 8"}),
        (multiply((3,), 1e-3), {"n3": "x * 1000"}),
        (logarithm, {"n3": "exp(x) - 1"}),
        (rename(ONE), {"c0": "unseen value = v0"}),
        (assign(3, np.nan), {}),
    ],
)
def test_what_would_undo_a_fault_is_proposed(change: Change, undo: dict[str, str]) -> None:
    assert run(5, 8, change)[-1].facts["undo"] == undo


def test_two_faults_at_one_source_are_both_named() -> None:
    def change(x: Floats, source: Strings) -> Floats:
        return assign(3, np.nan, ONE)(multiply((5,), 1000.0, ONE)(x, source), source)

    last = run(6, 6, change)[-1]
    assert set(last.facts["features"]) == {"n3", "n5"}
    assert last.facts["sources"] == [ONE]


def test_a_repaired_feature_ends_the_fault() -> None:
    rng = np.random.default_rng(7)
    detector = fitted()
    broken = [detector.observe(window(rng, i, change=assign(3, np.nan, ONE)), None) for i in range(3)]
    repaired = [detector.observe(window(rng, i, 500), None) for i in range(3, 11)]
    assert broken[-1].status == "fired"
    assert broken[-1].facts["recovered"] == []
    assert repaired[0].status == "fired"  # a few sessions are no proof
    assert repaired[-1].status == "ok"
    assert repaired[-1].facts["recovered"] == [f"n3 at {ONE}"]
    again = [detector.observe(window(rng, i, change=assign(3, np.nan, ONE)), None) for i in range(11, 14)]
    assert again[-1].status == "fired"


def test_a_fault_that_stays_does_not_end() -> None:
    assert [e.status for e in run(8, 12, assign(3, np.nan, ONE))][-10:] == ["fired"] * 10


@pytest.mark.parametrize("change", [multiply((3,), 8.0, ONE), multiply((3, 4), 3.0)])
def test_state_restored_at_any_window_gives_the_same_results(change: Change) -> None:
    windows = [window(np.random.default_rng([9, i]), i, change=change if i < 6 else None) for i in range(9)]
    whole = fitted()
    expected, states = [], [whole.state()]
    for each in windows:
        expected.append(whole.observe(each, None))
        states.append(whole.state())
    for cut in (0, 2, 5, 7):
        other = fitted()
        other.restore(states[cut])
        assert [other.observe(each, None) for each in windows[cut:]] == expected[cut:]


def test_a_source_without_a_past_cannot_alarm_alone() -> None:
    def strange(x: Floats, source: Strings) -> Floats:
        rows = source == ONE
        x[rows, 3] = np.nan
        source[rows] = "new-sensor"
        return x

    seen = run(6, 3, strange)
    assert all("new-sensor" not in e.facts.get("sources", []) for e in seen)


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match="unit_ratio"):
        Parameters(unit_ratio=1.0)
    with pytest.raises(ValueError, match="outside"):
        Parameters(outside=0.0)
