"""What every screen promises. Screens are found in the package: a new one is tested here without being named."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from sanitise_traffic import ATTACK, BENIGN, backdoored, silent, traffic, trees

from rollback.sanitise.case import Case
from rollback.sanitise.conformal import cross_fit, p_values
from rollback.sanitise.rows import Rows
from rollback.sanitise.sanitise import Settings
from rollback.sanitise.screen import Findings, Screen, screen_classes

CLASSES = screen_classes()
NAMES = sorted(CLASSES)
CLEAN_SEEDS = range(10, 15)


def make(name: str) -> Screen:
    cls, parameters = CLASSES[name]
    build: Any = cls
    screen: Screen = build(parameters())
    return screen


def case(base: Rows, new: Rows, seed: int) -> Case:
    fitted = cross_fit(base, trees, 3, seed, lambda _: None)
    base_p, new_p = p_values(base, fitted, new)
    current = trees(Rows.concat([base, new]), seed)
    return Case(base, new, fitted.scorers, current, base_p, new_p, BENIGN, seed, fold=fitted.fold)


@cache
def clean(seed: int) -> Case:
    return case(*traffic(seed, 2400, 1600), seed)


@cache
def poisoned() -> tuple[Case, np.ndarray]:
    base, new = traffic(1, 2400, 1600)
    new, poison, _ = backdoored(new, 0.02, 1)
    return case(base, new, 1), poison


def find(name: str, about: Case) -> Findings:
    return make(name).find(about, silent)


def test_screens_are_found() -> None:
    assert {"suspicion", "slice_mining"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_is_the_file_name(name: str) -> None:
    assert CLASSES[name][0].name == name
    assert Settings(screens={name: CLASSES[name][1]()}).screens[name] == CLASSES[name][1]()


@pytest.mark.parametrize("name", NAMES)
def test_of_clean_buffers_it_removes_no_more_than_it_states(name: str) -> None:
    removed = sessions = trusted = 0.0
    for seed in CLEAN_SEEDS:
        about = clean(seed)
        gone = find(name, about).removed
        votes = [gone[about.new.session == s].mean() for s in np.unique(about.new.session)]
        removed, sessions = removed + sum(votes), sessions + len(votes)
        trusted += len(np.unique(about.base.session))
    rate = make(name).error_rate
    # a session is one draw, and the base is a sample too
    deviation = np.sqrt(rate * (1 / sessions + 1 / trusted))
    assert 0 < rate < 0.05
    assert removed / sessions <= rate + 3 * deviation


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_most_rows_of_a_backdoor(name: str) -> None:
    about, poison = poisoned()
    assert find(name, about).removed[poison].mean() > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_it_says_why_exactly_of_the_rows_that_it_removes(name: str) -> None:
    found = find(name, poisoned()[0])
    assert np.array_equal(found.removed, found.reason != "")
    assert np.array_equal(found.removed, ~np.isnan(found.score))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_case_gives_the_same_findings(name: str) -> None:
    first, second = (find(name, poisoned()[0]) for _ in range(2))
    for field in ("removed", "reason", "score"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    assert first.slices == second.slices
    assert first.remarks == second.remarks


@pytest.mark.parametrize("name", NAMES)
def test_it_changes_nothing_of_the_case(name: str) -> None:
    about, _ = poisoned()
    before = {name: getattr(about.new, name).copy() for name in about.new.arrays()}
    find(name, about)
    for field, column in before.items():
        np.testing.assert_array_equal(getattr(about.new, field), column)


@pytest.mark.parametrize("name", NAMES)
def test_its_progress_goes_from_nothing_to_all_and_never_back(name: str) -> None:
    told: list[float] = []
    make(name).find(poisoned()[0], lambda _, share: told.append(share))
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0.0, 1.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("odd", ["empty", "one row", "one label", "missing", "constant", "unseen", "one source"])
def test_odd_new_rows_do_not_break_it(name: str, odd: str) -> None:
    about = clean(CLEAN_SEEDS[0])
    new, keep, x = about.new, np.ones(len(about.new), bool), about.new.x.copy()
    if odd == "empty":
        keep[:] = False
    elif odd == "one row":
        keep[1:] = False
    elif odd == "one label":
        keep = new.y == ATTACK
    elif odd == "missing":
        x[:, 3:6] = np.nan
    elif odd == "constant":
        x[:, 6:9] = 1.0
    elif odd == "unseen":
        x[:, :3] = -1.0
    new = replace(new, x=x, source=np.full(len(new), "one") if odd == "one source" else new.source).take(keep)
    found = find(name, replace(about, new=new, new_p=about.new_p[keep]))
    assert len(found.removed) == keep.sum()
    assert np.array_equal(found.removed, found.reason != "")
