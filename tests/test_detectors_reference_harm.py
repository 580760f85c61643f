"""What a version has unlearned shows on the labels of the reference; those of the stream say if it still counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from separation.episode import Episode, buffer_of, new_rows, retrained
from separation.play import Settings, play, versions
from separation.scenario import scenarios
from separation.tables import load
from separation.world import Setting
from session_stream import LinearModel, reference, window

from detectors.batch import Floats, Reference
from detectors.evidence import Budget, Detector
from detectors.reference_harm import Parameters, ReferenceHarm, harm


def detector() -> ReferenceHarm:
    return ReferenceHarm(Parameters(), Budget(), np.random.default_rng(0))


def forgetful(share: float) -> LinearModel:
    """Says class 0 of a share of what it would call class 1."""

    class Forgetful(LinearModel):
        def __call__(self, x: Floats) -> Floats:
            scores = LinearModel()(x)
            lost = (scores[:, 1] > 0.5) & (np.abs(np.nan_to_num(x[:, 3])) % 1 < share)
            return np.where(lost[:, None], scores[:, ::-1], scores)

    return Forgetful()


def rows(f: LinearModel, *, labelled: bool = True) -> Reference:
    made = reference(np.random.default_rng(1), n=9000, f=f, g=LinearModel())
    truth = LinearModel()(made.x).argmax(axis=1).astype(np.int64)
    return replace(made, y=truth if labelled else np.full(len(made), -1))


def test_a_class_that_was_unlearned_is_named_with_its_harm() -> None:
    one = detector()
    one.fit(rows(forgetful(0.1)))
    seen = one.observe(window(np.random.default_rng(2), 0, f=forgetful(0.1), g=LinearModel()), None)
    assert seen.status == "fired"
    assert seen.facts["harmed_class"] == "k1"
    assert seen.facts["net_harm"] > 0.005
    assert seen.asks


def test_an_equally_good_version_raises_nothing_and_asks_nothing() -> None:
    one = detector()
    one.fit(rows(LinearModel(tilt=((3, 0.02),))))
    tilted = LinearModel(tilt=((3, 0.02),))
    seen = one.observe(window(np.random.default_rng(2), 0, f=tilted, g=LinearModel()), None)
    assert (seen.status, seen.asks, seen.llr) == ("ok", (), None)


def test_harm_is_the_net_share_of_sessions_by_true_class() -> None:
    made = rows(LinearModel())
    wrong = made.y == 1
    flipped = replace(made, f=np.where(wrong[:, None], made.g[:, ::-1], made.g))
    z, net = harm(flipped)
    assert net[0] == pytest.approx(0.0)
    assert net[1] > 0.1
    assert z[1] > 5


def test_without_labels_in_the_reference_it_says_what_is_missing() -> None:
    one = detector()
    one.fit(rows(LinearModel(), labelled=False))
    seen = one.observe(window(np.random.default_rng(2), 0, f=LinearModel(), g=LinearModel()), None)
    assert seen.status == "warming"
    assert "0 labelled sessions" in seen.note


def test_it_draws_nothing_from_the_budget_of_votes() -> None:
    assert not ReferenceHarm.bets
    assert Detector.bets


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting(load("soc", None, 2), "boosting", 2)


def episode(setting: Setting, name: str, **strength: object) -> Episode:
    return scenarios()[name].make(setting, strength)


def test_honest_retrains_stay_below_the_gate_and_forgetting_and_learned_flips_above(setting: Setting) -> None:
    def largest(made: Episode) -> float:
        return float(harm(versions(made, Settings(buffer=False)).reference)[0].max())  # type: ignore[arg-type]  # there is one

    world = setting.world()
    honest = []
    for seed in range(6):
        rng = np.random.default_rng([seed, 8])
        made = episode(setting, "honest_retrain")
        buffer = buffer_of(world, new_rows(world, rng), rng)
        honest.append(largest(replace(made, score_f=retrained(world, buffer, seed))))
    assert max(honest) < Parameters().gate
    assert largest(episode(setting, "learned_flips", rate=0.1, direction="hide")) > Parameters().gate


def test_forgetting_with_a_clean_buffer_is_a_regression_and_no_poisoning(setting: Setting) -> None:
    made = episode(setting, "forgetting")
    assert made.truth.effective
    assert play(made).called == "regression"
