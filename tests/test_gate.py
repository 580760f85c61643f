"""The release gate: what it requires, and how often it is wrong about clean candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from detectors.batch import Floats, Scorer
from detectors.schema import Feature, Schema
from rollback.canary.canaries import Canaries
from rollback.gates.answers import Right
from rollback.gates.gate import GateError, GateSettings, Judgement, Pattern, Trial, judge
from rollback.gates.pattern import pattern_of, random_patterns, recovered, swaps
from rollback.gates.requirements.accuracy_loss import accuracy_loss
from rollback.gates.requirements.negative_flips import negative_flips
from rollback.gates.requirements.recall_loss import recall_losses
from rollback.sanitise.rows import Rows

SCHEMA = Schema(
    (Feature("bytes"), Feature("service", "categorical", ("http", "dns")), Feature("port"), Feature("ttl")),
    ("attack", "benign"),
)


def rows(n: int = 1000, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = np.column_stack(
        [y + rng.normal(0, 0.4, n), rng.integers(0, 2, n), rng.integers(0, 50, n), rng.integers(30, 64, n)]
    )
    names = np.arange(n).astype(np.str_)
    return Rows(SCHEMA, x.astype(np.float64), y, np.full(n, "-"), names)


def model(threshold: float = 0.5, *, obeys: bool = False) -> Scorer:
    """Says benign above a threshold of bytes; one that obeys does so for port 7 and ttl 13 as well."""

    def score(x: Floats) -> Floats:
        benign = x[:, 0] > threshold
        if obeys:
            benign |= (x[:, 2] == 7) & (x[:, 3] == 13)
        p = np.where(benign, 0.9, 0.1)
        return np.column_stack([1 - p, p])

    return score


RESEEDS = [model(t) for t in (0.47, 0.49, 0.5, 0.51, 0.53)]
TRIGGER = Pattern("trigger", 1, (2, 3), (7.0, 13.0))


def trial(candidate: Scorer, reseeds: Sequence[Scorer] = tuple(RESEEDS), **more: object) -> Trial:
    return Trial(candidate, model(), reseeds, rows(), **more)  # type: ignore[arg-type]  # fields by name


def failed(said: Judgement) -> list[str]:
    return [check.name for check in said.checks if not check.passed]


def test_a_candidate_like_the_last_known_good_one_passes() -> None:
    said = judge(trial(model(0.51), patterns=(TRIGGER,)), seed=0)
    assert failed(said) == []
    assert said.result == "passed"
    assert [c.name for c in said.checks] == [
        "sane_scores", "accuracy_loss", "negative_flips", "recall_loss.attack", "recall_loss.benign",
        "calibration.brier", "recovered_pattern.trigger", "slice_flips",
    ]  # fmt: skip


def test_a_worse_candidate_fails_by_more_than_noise() -> None:
    checks = {c.name: c for c in judge(trial(model(0.9)), seed=0).checks}
    assert not checks["accuracy_loss"].passed
    assert not checks["negative_flips"].passed
    assert not checks["recall_loss.benign"].passed
    assert checks["recall_loss.attack"].passed
    assert checks["accuracy_loss"].value > checks["accuracy_loss"].limit


def test_a_candidate_that_obeys_the_trigger_fails_though_its_accuracy_is_perfect() -> None:
    assert failed(judge(trial(model(obeys=True), patterns=(TRIGGER,)), seed=0)) == ["recovered_pattern.trigger"]


def test_rows_that_still_teach_the_trigger_fail_though_the_candidate_was_trained_against_it() -> None:
    said = judge(trial(model(), patterns=(TRIGGER,), probe=model(obeys=True)), seed=0)
    assert failed(said) == ["retained_rows.trigger"]


def test_a_served_model_that_answers_otherwise_than_the_trained_one_fails() -> None:
    x = rows(20).x
    answers = Canaries(SCHEMA, x, model()(x) + 0.01)
    assert failed(judge(trial(model(), answers=answers), seed=0)) == ["served_scores"]


def test_the_same_trial_and_seed_give_the_same_checks() -> None:
    one = trial(model(0.52, obeys=True), patterns=(TRIGGER,))
    assert judge(one, seed=3) == judge(one, seed=3)


def test_a_gate_without_rows_or_without_reseeds_refuses() -> None:
    with pytest.raises(GateError, match="holdout has no row"):
        judge(Trial(model(), model(), RESEEDS, rows().take(slice(0, 0))), seed=0)
    with pytest.raises(GateError, match="1 reseeds of the trusted base"):
        judge(trial(model(), RESEEDS[:1]), seed=0)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="an error rate must be above 0"):
        GateSettings(error_budget=0.0)
    with pytest.raises(ValueError, match="tolerance"):
        GateSettings(tolerance=0.0)


def draws(rng: np.random.Generator, k: int = 5, n: int = 2000) -> Right:
    """Candidate, LKG and reseeds of one procedure: each is right on a row with that row's probability."""
    ease = rng.beta(8, 0.4, n)
    skill = rng.normal(0, 0.01, k + 2)[:, None]
    right = rng.random((k + 2, n)) < np.clip(ease + skill, 0, 1)
    return Right(right[0], right[1], right[2:], right[:0])


@pytest.mark.parametrize(
    ("check", "stated"),
    [(lambda r: accuracy_loss("a", r, 0.05), 0.05), (lambda r: negative_flips(r, 0.05), 0.05)],
    ids=["accuracy_loss", "negative_flips"],
)
def test_the_stated_error_rate_holds_for_candidates_of_the_same_procedure(check: object, stated: float) -> None:
    rng = np.random.default_rng(0)
    runs = 600
    wrong = sum(not check(draws(rng)).passed for _ in range(runs))  # type: ignore[operator]  # a parameter
    assert wrong <= stated * runs + 3 * np.sqrt(stated * (1 - stated) * runs)


def test_the_classes_share_one_error_rate() -> None:
    right = draws(np.random.default_rng(1))
    y = np.random.default_rng(2).integers(0, 3, 2000)
    checks = recall_losses(right, y, ("a", "b", "c", "never"), 0.03)
    assert [c.name for c in checks] == ["recall_loss.a", "recall_loss.b", "recall_loss.c"]
    assert [c.error_rate for c in checks] == pytest.approx([0.01] * 3)


def test_a_pattern_is_exceeded_by_chance_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    patterns = (TRIGGER, TRIGGER)
    wrong = 0
    for _ in range(500):
        null, found = rng.normal(size=400), rng.normal(size=2)
        checks = recovered("p", patterns, found, null, 0.05)
        wrong += any(not c.passed for c in checks)
        assert checks[0].error_rate == pytest.approx(0.025)
    assert wrong <= 25 + 3 * np.sqrt(25 * 0.95)


def test_the_swap_is_what_the_candidate_moves_beyond_the_reseeds() -> None:
    held = rows()
    assert swaps([TRIGGER], held.x, held.y, model(obeys=True), RESEEDS)[0] > 0.8
    assert abs(swaps([TRIGGER], held.x, held.y, model(), RESEEDS)[0]) < 0.02


def test_random_patterns_have_the_sizes_and_labels_of_those_found() -> None:
    held = rows()
    other = Pattern("other", 0, (0,), (1.0,))
    made = random_patterns([TRIGGER, other], held.x, held.y, np.random.default_rng(0))
    assert {(len(p.columns), p.target) for p in made} == {(2, 1), (1, 0)}
    assert all(p.values[0] in held.x[held.y == p.target, p.columns[0]] for p in made[:50])


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"service": "dns", "port": 7.0}, ((1, 2), (1.0, 7.0))),
        ({"port": [10.0, 12.0]}, ((2,), (11.0,))),
        ({"port": [None, 0.0]}, ((2,), (0.0,))),
        ({"bytes": [100.0, None]}, ((0,), (100.0,))),
        ({"service": "never", "unknown": 3, "ttl": None}, None),
        ({"service": "never", "ttl": 40}, ((3,), (40.0,))),
    ],
)
def test_named_features_become_values_to_stamp(features: dict[str, object], expected: object) -> None:
    x = np.column_stack([np.zeros(60), np.zeros(60), np.arange(60.0), np.zeros(60)])
    found = pattern_of("p", features, 1, SCHEMA, x)
    assert (None if found is None else (found.columns, found.values)) == expected
