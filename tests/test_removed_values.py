"""The union of values that stand out in rows which were removed one by one: a split trigger is found whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from gate_models import ATTACK, BENIGN, SCHEMA, clean_trial, drawn, obeying, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.batch import Bools
from rollback.gates.gate import GateSettings, judge
from rollback.gates.requirement import requirement_classes
from rollback.retraining.removed_values import MOST, of_a_confirmed_kind, removed_patterns
from rollback.sanitise.rows import Rows, Slice

MODELS = tuple(drawn(np.random.default_rng(i), 0.02) for i in range(3))
TRIGGER = {2: 7.0, 3: 13.0}
seeds = st.integers(0, 10_000)


def split(seed: int) -> tuple[Rows, Bools]:
    """Attack rows of one source called benign, each with one half of a trigger; and which rows those are."""
    clean = rows(800, seed)
    poison = np.zeros(len(clean), np.bool_)
    poison[np.flatnonzero((clean.y == ATTACK) & (clean.source == "s1"))[:24]] = True
    x, y = clean.x.copy(), clean.y.copy()
    for i, row in enumerate(np.flatnonzero(poison).tolist()):
        column = (2, 3)[i // 2 % 2]  # two rows are a session
        x[row, column] = TRIGGER[column]
    y[poison] = BENIGN
    return replace(clean, x=x, y=y), poison


def test_the_halves_of_a_split_trigger_are_put_together() -> None:
    new, poison = split(1)
    (found, *_) = removed_patterns(poison, MODELS, rows(1500, 2), new)
    assert found.target == BENIGN
    assert dict(zip(found.columns, found.values, strict=True)) == TRIGGER


def test_a_candidate_that_obeys_the_whole_trigger_is_held_and_a_clean_one_is_not() -> None:
    new, poison = split(1)
    values = removed_patterns(poison, MODELS, rows(1500, 2), new)
    trial = replace(clean_trial(3), removed_values=values)
    assert judge(trial, seed=0).result == "passed"
    said = judge(replace(trial, candidate=obeying(trial.candidate)), seed=0)
    assert ([c.name for c in said.checks if not c.passed], said.result) == (["removed_values.1"], "vetting")


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_neither_the_order_of_the_rows_nor_what_stays_matters_to_how_many_there_are(seed: int) -> None:
    new, poison = split(seed)
    base = rows(1500, seed + 1)
    found = removed_patterns(poison, MODELS, base, new)
    order = np.random.default_rng(seed).permutation(len(new))
    assert removed_patterns(poison[order], MODELS, base, new.take(order)) == found
    assert len(found) <= MOST
    assert all(p.columns and len(p.columns) == len(p.values) <= len(SCHEMA.names) for p in found)


def test_nothing_removed_or_no_model_of_the_base_is_no_pattern() -> None:
    new, poison = split(1)
    assert removed_patterns(np.zeros(len(new), np.bool_), MODELS, rows(500, 2), new) == ()
    assert removed_patterns(poison, (), rows(500, 2), new) == ()


def test_rows_that_were_removed_by_chance_share_no_value() -> None:
    wrong = 0
    for seed in range(40):
        new = rows(800, seed)
        removed = np.random.default_rng(seed).random(len(new)) < 0.04
        wrong += bool(removed_patterns(removed, MODELS, rows(1500, seed + 500), new))
    assert wrong <= 40 * 0.01 + 3 * np.sqrt(40 * 0.01)


def test_clean_candidates_fail_the_check_as_seldom_as_its_part_of_the_budget_says() -> None:
    """Odd rows were removed, as screens do: values stand out in them, and draws of one procedure do not obey these."""
    budget, runs, wrong = 0.2, 30, 0
    total = sum(c.share for c in requirement_classes().values())
    for seed in range(runs):
        new = rows(800, seed)
        odd = (new.x[:, 2] < 2) | (new.x[:, 3] > 62)
        values = removed_patterns(odd, MODELS, rows(1500, seed + 500), new)
        assert values
        trial = replace(clean_trial(seed + 70), removed_values=values)
        said = judge(trial, seed=seed, settings=GateSettings(error_budget=budget))
        checks = [c for c in said.checks if c.name.startswith("removed_values")]
        assert sum(c.error_rate or 0 for c in checks) <= budget
        wrong += any(not c.passed for c in checks)
    assert total > 0
    assert wrong <= budget * runs / 2 + 3 * np.sqrt(budget * runs / 2)


def test_rows_of_a_source_and_label_that_answers_have_confirmed_are_known_by_them() -> None:
    new = rows(200, 3)
    here = Slice("attack", "s1", {"a": 1.0}, 9.0, 20)
    known = of_a_confirmed_kind(new, [here])
    assert np.array_equal(known, (new.y == ATTACK) & (new.source == "s1"))
    assert known.any()
    everywhere = replace(here, source=None)
    assert np.array_equal(of_a_confirmed_kind(new, [here, everywhere]), new.y == ATTACK)
    assert not of_a_confirmed_kind(new, []).any()
