"""Entropy and margin: quiet on correlated sessions, loud when the model becomes unsure or the inputs move."""

from __future__ import annotations

import numpy as np
import pytest
from session_stream import LinearModel, reference, window

from detectors.batch import Floats
from detectors.evidence import Budget, Evidence
from detectors.prediction_entropy import Parameters, PredictionEntropy, certainty


def tempered(x: Floats) -> Floats:
    """The model at three times the temperature: less sure, hardly another decision."""
    scores = LinearModel()(x) ** (1 / 3)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def run(budget: Budget, seed: int, windows: int, f: object = None, mean_session: float = 6.0) -> list[Evidence]:
    rng = np.random.default_rng(seed)
    detector = PredictionEntropy(Parameters(), budget, np.random.default_rng(seed))
    detector.fit(reference(rng))
    seen = []
    for index in range(windows):
        model = f if index >= 2 and callable(f) else None
        seen.append(detector.observe(window(rng, index, f=model, mean_session=mean_session), None))
    return seen


@pytest.mark.parametrize("mean_session", [1.0, 6.0, 20.0])
def test_false_alarms_stay_within_a_small_budget_however_long_sessions_are(mean_session: float) -> None:
    budget = 20_000.0  # 10 streams x 30 windows x 50 to 1000 votes: at most 15 are allowed, at one vote a session
    runs = [run(Budget(budget, budget), seed, 30, mean_session=mean_session)[-1] for seed in range(10)]
    votes = 10 * 30 * 1000 / mean_session
    assert sum(e.status == "fired" for e in runs) <= votes / budget


def test_a_less_sure_model_alarms_within_two_windows_and_stays_latched() -> None:
    for seed in range(3):
        statuses = [e.status for e in run(Budget(), seed, 8, tempered)]
        assert statuses[:2] == ["ok", "ok"]
        assert set(statuses[4:]) == {"fired"}


def test_evidence_tells_the_direction_and_the_quantiles() -> None:
    last = run(Budget(), 1, 6, tempered)[-1]
    assert last.facts["direction"] == "up"
    gauges = last.gauges
    assert gauges["entropy_p10"] < gauges["entropy_p50"] < gauges["entropy_p90"] <= 1
    assert 0 <= gauges["margin_p10"] < gauges["margin_p50"] < gauges["margin_p90"]


def test_adwin_alone_finds_a_change_that_hides_behind_the_margin() -> None:
    rng = np.random.default_rng(8)
    detector = PredictionEntropy(Parameters(), Budget(), np.random.default_rng(0))
    detector.fit(reference(rng, 40_000))

    def slightly(x: Floats) -> Floats:
        scores = LinearModel()(x) ** 0.8
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    seen = [detector.observe(window(rng, i, f=slightly), None) for i in range(40)]
    assert seen[-1].facts["adwin"]
    assert seen[-1].status == "fired"


def test_sessions_that_have_voted_do_not_vote_again() -> None:
    rng = np.random.default_rng(3)
    detector = PredictionEntropy(Parameters(), Budget(), np.random.default_rng(0))
    detector.fit(reference(rng))
    one = window(rng, 0, f=tempered)
    stale = type(one)(1, one.batch, one.f, None, np.zeros(len(one), bool))
    before = detector.observe(stale, None)
    assert before.e_value == 0.0
    assert before.score == 0.0


def test_entropy_is_normed_by_the_number_of_classes() -> None:
    assert certainty(np.full((1, 5), 0.2)).round(9).tolist() == [[1.0, 0.0]]


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match="margin_level"):
        Parameters(margin_level=1.5)
    with pytest.raises(ValueError, match="block"):
        Parameters(block=0)


def test_ranks_find_a_small_shift_that_lasts_and_hides_behind_the_margin() -> None:
    def slightly(x: Floats) -> Floats:
        scores = LinearModel()(x) ** 0.86
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    for seed in range(2):
        rng = np.random.default_rng(seed)
        detector = PredictionEntropy(Parameters(), Budget(), np.random.default_rng(seed))
        detector.fit(reference(rng))
        seen = [detector.observe(window(rng, i, f=slightly), None) for i in range(60)]
        assert seen[-1].status == "fired"
        assert not seen[-1].facts["adwin"]
        assert max(detector.state()["runs"]["log_r"]) < np.log(Budget().alarm)
