"""What a label is expected to be: noise as it is learned, labellers together and alone, bets that gain nothing."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.labels.bets import Alone, Votes, by_cell, by_scope, log_sum
from detectors.labels.labellers import SHARED, alone, by_labeller, error_alone, noise_together, together
from detectors.labels.noise import NOISE, noise_ahead, null_rate
from detectors.labels.rubric import log_e_changed


def test_no_stream_teaches_a_higher_noise_than_the_ceiling() -> None:
    learned = noise_ahead(np.ones(5000), np.full(5000, 0.01), np.zeros(5000, np.int64), 0)
    assert learned[0] == pytest.approx(0.01804)
    assert learned.max() <= NOISE[-1]


def test_noise_is_learned_within_a_batch_as_across_batches() -> None:
    rng = np.random.default_rng(5)
    wrong, error, group = (rng.random(90) < 0.06) * 1.0, np.full(90, 0.01), rng.integers(-1, 4, 90)
    at_once = noise_ahead(wrong, error, group, 0)
    halves = np.concatenate([noise_ahead(wrong[:40], error[:40], group[:40], 0), noise_ahead(wrong, error, group, 40)])
    assert halves.tolist() == pytest.approx(at_once.tolist())


def test_under_the_null_bets_gain_nothing_and_rarely_reach_a_threshold() -> None:
    """Sessions of one to three labellers: each errs for himself, a tenth of the time all alike; g errs for all."""
    rng = np.random.default_rng(8)
    n, runs, origins, gains = 150, 600, 3, []
    for _ in range(runs):
        error, rate = rng.uniform(0.001, 0.03, n), rng.uniform(0.005, 0.05, origins)
        labelled = rng.random((n, origins)) < 0.5
        labelled[np.arange(n), rng.integers(0, origins, n)] = True
        alike = (rng.random(n) < SHARED * rate.min())[:, None]
        errs = alike | (rng.random((n, origins)) < rate * (1 - SHARED))
        by = np.where(labelled, (errs ^ (rng.random(n) < error)[:, None]) * 1.0, np.nan)
        noise = np.where(labelled, rate, np.nan)
        row, origin = np.nonzero(labelled)
        null_alone = null_rate(error_alone(error, labelled.sum(axis=1))[row], noise[row, origin])
        votes = Votes(
            together(by), null_rate(error, noise_together(noise)),
            np.stack([np.zeros(n, np.int64), rng.integers(1, 4, n)], axis=1), rng.integers(0, 4, n),
            np.zeros(n, np.int64), Alone(row, origin, alone(by)[row, origin], null_alone),
        )  # fmt: skip
        gains.append(np.exp(log_sum(by_cell(by_scope(votes, 1, 4, 4, origins), 4) - np.log(4), axis=1))[0])
    assert np.mean(gains) < 1.3
    assert np.mean(np.array(gains) >= 10) <= 0.1


def test_colleagues_who_contradict_together_weigh_more_and_a_labeller_alone_less() -> None:
    wrong, session = np.array([1.0, 1.0, 1.0, 0.0, 1.0]), np.array([0, 0, 1, 1, 2])
    by = by_labeller(wrong, session, 3, np.array([0, 1, 0, 1, -1]), 2)
    assert together(by).tolist() == [1.0, 0.0, 1.0]
    assert alone(by).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert noise_together(np.where(np.isnan(by), np.nan, 0.02)).tolist() == pytest.approx([0.002, 0.002, 0.02])


def test_who_has_always_labelled_so_is_rarely_said_to_have_changed() -> None:
    """P(e >= 20) <= 1/20, whatever the constant rate, though g errs unequally."""
    rng, called = np.random.default_rng(11), []
    for _ in range(400):
        error, rate = rng.choice([0.002, 0.3], 60, p=[0.9, 0.1]), rng.uniform(0.02, 0.9)
        share = (rng.random(60) < null_rate(error, np.full(60, rate))) * 1.0
        called.append(log_e_changed(share, error, np.full(60, 0.01)) >= np.log(20))
    assert np.mean(called) <= 0.05
