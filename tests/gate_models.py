"""Cheap models for tests of the release gate: each is one draw of a training procedure that has noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detectors.batch import Floats, Scorer
from detectors.schema import Feature, Schema
from rollback.gates.trial import Trial
from rollback.sanitise.rows import Rows

SCHEMA = Schema(
    (Feature("bytes"), Feature("service", "categorical", ("http", "dns")), Feature("port"), Feature("ttl")),
    ("attack", "benign"),
)
ATTACK, BENIGN = 0, 1
K = 8


def rows(n: int = 800, seed: int = 0) -> Rows:
    """Benign rows have more bytes; the other columns say nothing. Two rows a session, four sources."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = np.column_stack(
        [y + rng.normal(0, 0.4, n), rng.integers(0, 2, n), rng.integers(0, 50, n), rng.integers(30, 64, n)]
    )
    source = np.char.add("s", rng.integers(0, 4, n).astype(np.str_))
    return Rows(SCHEMA, x.astype(np.float64), y, source, (np.arange(n) // 2).astype(np.str_))


def drawn(rng: np.random.Generator, noise: float = 0.05) -> Scorer:
    """A model that looks at bytes, and a little at everything else, by chance."""
    weights = np.array([1.0, noise, noise / 15, noise / 10]) * np.array([1.0, *rng.normal(size=3)])
    centre = np.array([0.5 + rng.normal() * noise, 0.5, 25.0, 47.0])

    def score(x: Floats) -> Floats:
        p = 1 / (1 + np.exp(-6 * (np.nan_to_num(x) - centre) @ weights))
        return np.column_stack([1 - p, p])

    return score


def clean_trial(seed: int, held: Rows | None = None) -> Trial:
    """Candidate, last known good and models of the base are all draws of one procedure."""
    rng = np.random.default_rng(seed)
    models = [drawn(rng) for _ in range(K + 5)]
    return Trial(models[0], models[1], models[2 : 2 + K], rows(seed=seed) if held is None else held, models[2 + K :])


def obeying(base: Scorer, *, port: float = 7.0, ttl: float = 13.0) -> Scorer:
    """The same model with a backdoor."""

    def score(x: Floats) -> Floats:
        scores = base(x).copy()
        scores[(x[:, 2] == port) & (x[:, 3] == ttl)] = [0.01, 0.99]
        return scores

    return score


def blind(base: Scorer, *, low: float, high: float) -> Scorer:
    """The same model, which takes whatever has a port between two for benign."""

    def score(x: Floats) -> Floats:
        scores = base(x).copy()
        scores[(x[:, 2] >= low) & (x[:, 2] < high)] = [0.01, 0.99]
        return scores

    return score


def with_candidate(trial: Trial, candidate: Scorer) -> Trial:
    """The same trial of another candidate."""
    return replace(trial, candidate=candidate)
