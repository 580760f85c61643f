"""Rehearsals: every attack of the red team in both directions, on rows that stay as they are, at two trainings each."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sanitise_traffic import BENIGN, silent, traffic
from test_sanitise_laws import naive_bayes

import rollback.redteam
from detectors.batch import Scorer
from rollback.gates.trial import Campaign
from rollback.redteam.attack import attacks
from rollback.retraining.campaigns import Ground, NoRoomError, family_of, plans, plant
from rollback.retraining.rehearsal import Rehearse, Remembered, rehearse
from rollback.sanitise.rows import Rows
from rollback.sanitise.sanitise import sanitise

NAMES = sorted(attacks())


@cache
def ground() -> Ground:
    base, new = traffic(4, 500, 400)
    _, held = traffic(6, 400, 300)
    return Ground(base, new, held, BENIGN)


@cache
def rehearsed(count: int = 4) -> tuple[tuple[Campaign, ...], int, tuple[str, ...]]:
    """The campaigns, how many models were fitted, and what was told on the way."""
    g, fits, told = ground(), [0], []

    def fit(rows: Rows, seed: int) -> Scorer:
        fits[0] += 1
        return naive_bayes(rows, seed)

    found = rehearse(
        Rehearse(g.base, g.new, g.holdout, fit, sanitise, "benign"), count, 0, lambda what, _: told.append(what)
    )
    return found, fits[0], tuple(told)


def test_twice_as_many_campaigns_as_attacks_are_all_attacks_in_both_directions() -> None:
    for seed in range(5):
        planned = plans(2 * len(NAMES), np.random.default_rng(seed))
        assert {(p.attack.name, p.reverse) for p in planned} == {(n, r) for n in NAMES for r in (False, True)}
        assert sorted(p.attack.name for p in planned[: len(NAMES)]) == NAMES


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_campaign_touches_some_rows_of_the_ground_and_leaves_the_ground_as_it_was(name: str, reverse: bool) -> None:  # noqa: FBT001 - a parameter of the test
    g = ground()
    x, y = g.new.x.copy(), g.new.y.copy()
    plan = replace(
        next(p for p in plans(len(NAMES), np.random.default_rng(0)) if p.attack.name == name), reverse=reverse
    )
    done = plant(plan, g, np.random.default_rng(3))
    assert np.array_equal(g.new.x, x, equal_nan=True)
    assert np.array_equal(g.new.y, y)
    changed = (done.new.y != y) | np.any((done.new.x != x) & ~(np.isnan(done.new.x) & np.isnan(x)), axis=1)
    assert not np.any(changed & ~done.rows)
    assert 0 < done.rows.sum() < len(y) / 2
    assert done.aim.target == (g.other if reverse else BENIGN)
    assert f"{done.rows.sum()} rows" in done.what
    assert len(family_of(done.aim, g.holdout.x)) == len(g.holdout)


def test_a_ground_without_victims_or_rows_to_judge_by_has_no_room() -> None:
    g = ground()
    plan = plans(1, np.random.default_rng(0))[0]
    for bare in (
        replace(g, new=g.new.take(g.new.y == BENIGN)),
        replace(g, holdout=g.holdout.take(g.holdout.y == BENIGN)),
    ):
        with pytest.raises(NoRoomError, match="to hide"):
            plant(replace(plan, reverse=False), bare, np.random.default_rng(0))


def test_a_campaign_costs_two_trainings_beside_the_screens_and_the_base_is_learned_once() -> None:
    campaigns, fits, told = rehearsed()
    assert len(campaigns) == 4
    assert fits <= 2 * 4 + 4
    assert sum("s left" in line for line in told) == 3
    assert all(c.attack in line for c, line in zip(campaigns, told, strict=True))


def test_campaigns_say_what_was_planted_caught_and_done() -> None:
    campaigns, _, _ = rehearsed()
    assert all(c.planted > 0 and 0 <= c.caught <= c.planted and c.what for c in campaigns)
    assert all(0 <= share <= 1 for c in campaigns for share in (c.before, c.after, c.clean))
    assert len({c.name for c in campaigns}) == 4


def test_the_same_rows_in_another_order_are_rehearsed_alike() -> None:
    g = ground()
    order = np.random.default_rng(1).permutation(len(g.new))
    again = rehearse(Rehearse(g.base, g.new.take(order), g.holdout, naive_bayes, sanitise, "benign"), 2, 0, silent)
    assert again == rehearse(Rehearse(g.base, g.new, g.holdout, naive_bayes, sanitise, "benign"), 2, 0, silent)


def test_campaigns_that_the_rows_give_no_room_for_say_why() -> None:
    g = ground()
    bare = Rehearse(g.base, g.new.take(g.new.y == BENIGN), g.holdout, naive_bayes, sanitise, "benign")
    told = rehearse(bare, 2, 0, silent)
    assert any(c.planted == 0 and "to hide" in c.what for c in told)


def test_an_attack_that_is_one_more_file_is_rehearsed_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shouting.py").write_text(
        "from dataclasses import dataclass\n"
        "from rollback.redteam.random_flips import attack\n"
        "@dataclass(frozen=True)\nclass Parameters:\n    rate: float = 0.05\n"
    )
    monkeypatch.setattr(rollback.redteam, "__path__", [*rollback.redteam.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    try:
        planned = plans(len(NAMES) + 1, np.random.default_rng(0))
        plan = next(p for p in planned if p.attack.name == "shouting")
        assert plant(plan, ground(), np.random.default_rng(0)).rows.any()
    finally:
        sys.modules.pop("rollback.redteam.shouting", None)
        vars(rollback.redteam).pop("shouting", None)


def test_a_fit_is_remembered_by_rows_order_and_seed_and_forgotten_in_the_end() -> None:
    g, fits = ground(), [0]

    def fit(rows: Rows, seed: int) -> Scorer:
        fits[0] += 1
        return naive_bayes(rows, seed)

    again = Remembered(fit, most=2)
    for rows, seed in ((g.base, 0), (g.base, 0), (g.new, 0), (g.base, 1), (g.base, 0)):
        again(rows, seed)
    assert fits[0] == 4
