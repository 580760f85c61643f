"""Importance drift: quiet on the churn of a clean retrain, loud when the model leans on something else."""

from __future__ import annotations

import numpy as np
import pytest
from session_stream import LinearModel, reference, window

from detectors.evidence import Budget, Evidence
from detectors.importance_drift import ImportanceDrift, Parameters

LKG = LinearModel(tilt=((0, 0.05), (3, -0.05)))
TILTED = LinearModel(tilt=((10, 3.0),))


def run(
    budget: Budget, seed: int, windows: int, after: LinearModel | None = None, *, asked: bool = True, onset: int = 1
) -> list[Evidence]:
    rng = np.random.default_rng(seed)
    detector = ImportanceDrift(Parameters(resamples=499), budget, np.random.default_rng(seed))
    detector.fit(reference(rng, g=LKG))
    seen = []
    for i in range(windows):
        model = after if i >= onset else None
        seen.append(detector.observe(window(rng, i, f=model, g=LKG if asked else None, asked=asked), None))
    return seen


@pytest.mark.parametrize("asked", [True, False])
def test_false_alarms_stay_within_a_small_budget(asked: bool) -> None:  # noqa: FBT001 - a parametrised test
    budget = 2_000.0
    fired = sum(run(Budget(budget, budget), seed, 12, asked=asked)[-1].status == "fired" for seed in range(6))
    assert fired <= 6 * 12 * 1000 / 6 / budget


@pytest.mark.parametrize("asked", [True, False])
def test_a_model_that_leans_on_another_feature_alarms(asked: bool) -> None:  # noqa: FBT001 - a parametrised test
    for seed in range(2):
        seen = run(Budget(), seed, 9, TILTED, asked=asked)
        assert seen[0].status == "ok"
        assert seen[-1].status == "fired"
        assert seen[-1].top[0].name == "n10"
        assert max(seen[-1].facts["importance"], key=seen[-1].facts["importance"].__getitem__) == "n10"
        assert seen[-1].facts["weaker"] is not asked


def test_no_single_window_alarms_under_the_default_budget() -> None:
    assert [e.status for e in run(Budget(), 3, 2, TILTED)] == ["ok", "ok"]


def test_serving_is_also_compared_with_lkg_on_the_same_events() -> None:
    seen = run(Budget(), 4, 2, TILTED)
    assert seen[0].gauges["p_lkg"] > 0.01
    assert seen[1].gauges["p_lkg"] == 0.002
    assert seen[1].gauges["distance_lkg"] > seen[0].gauges["distance_lkg"]


def test_the_model_is_asked_for_no_more_rows_than_the_budget_allows() -> None:
    asked: list[np.ndarray] = []

    def counting(x: np.ndarray) -> np.ndarray:
        asked.append(x.copy())
        return LinearModel()(x)

    rng = np.random.default_rng(0)
    detector = ImportanceDrift(Parameters(rows=360), Budget(), np.random.default_rng(0))
    detector.fit(reference(rng))
    ready = window(rng, 0, f=counting)
    asked.clear()
    detector.observe(ready, None)
    _, scored = asked  # the reference, once, and the window
    events, changes = scored[:20], scored[20:]  # 360 // 18 features = 20 events
    a, b = changes[:, None, :], events[None, :, :]
    differ = (a != b) & ~(np.isnan(a) & np.isnan(b))
    of = differ.sum(axis=2).argmin(axis=1)
    changed = differ[np.arange(len(changes)), of]
    assert changed.sum(axis=1).tolist() == [1] * len(changes)
    by_feature = changed.sum(axis=0)
    assert len({(i, j) for i, j in zip(of.tolist(), changed.argmax(axis=1).tolist(), strict=True)}) == len(changes)
    # each feature of each event at most once; a draw that equals the value (or is missing like it) is no change
    assert 0 < by_feature.min() <= by_feature.max() == 20


def test_too_few_fresh_sessions_are_no_evidence() -> None:
    rng = np.random.default_rng(0)
    detector = ImportanceDrift(Parameters(), Budget(), np.random.default_rng(0))
    detector.fit(reference(rng))
    evidence = detector.observe(window(rng, 0, n=3), None)
    assert (evidence.status, evidence.e_value) == ("warming", 0.0)
    assert "too few" in evidence.note


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match="resamples"):
        Parameters(resamples=0)
    with pytest.raises(ValueError, match="sample"):
        Parameters(sample=2)
