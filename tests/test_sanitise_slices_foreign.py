"""Slices whose rows carry planted values under the right label: taken out and held; rows in other numbers are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sanitise_traffic import BENIGN, silent, traffic, trees
from score_material import NEW, clean

from detectors.batch import Bools
from rollback.redteam.backdoor import choose_trigger, pick_rows, stamp
from rollback.sanitise.rows import Rows, Sanitised
from rollback.sanitise.sanitise import Settings, sanitise
from rollback.sanitise.slice_foreign import ForeignCells, low_sessions

SLICES = 0.05


def run(base: Rows, new: Rows) -> Sanitised:
    return sanitise(base, new, trees, seed=1, hint=None, progress=silent, settings=Settings(benign="benign"))


def clean_label(new: Rows, count: int, seed: int) -> tuple[Rows, Bools]:
    """Benign rows of the source that has most of them carry a trigger of six features; every label is right."""
    rng = np.random.default_rng(seed)
    trigger = choose_trigger(new.x, new.y, new.schema, target=BENIGN, rng=rng, features=6)
    names, counts = np.unique(new.source[new.y == BENIGN], return_counts=True)
    rows = pick_rows((new.y == BENIGN) & (new.source == names[counts.argmax()]), count, rng)
    x = new.x.copy()
    x[rows] = stamp(x[rows], trigger, new.schema)
    return replace(new, x=x), rows


@pytest.mark.parametrize("seed", [1, 2])
def test_a_clean_label_backdoor_is_taken_out_as_a_slice_and_held(seed: int) -> None:
    base, new = traffic(seed, 3000, 2000)
    poisoned, poison = clean_label(new, 80, seed)
    found = run(base, poisoned)
    assert found.removed[poison].mean() > 0.95
    assert found.removed[~poison].mean() < 0.03
    best = max(found.slices, key=lambda s: s.rows)
    assert (best.label, best.source) == ("benign", new.source[poison][0])
    assert best.held or (best.swap or 0.0) >= 0.7


def test_known_rows_of_one_source_in_other_numbers_are_no_slice() -> None:
    base, new = traffic(3, 3000, 2000)
    port = new.schema.names.index("dst_port")
    values, counts = np.unique(new.x[new.y == BENIGN, port], return_counts=True)
    common = (new.y == BENIGN) & (new.x[:, port] == values[counts.argmax()])
    rest = ~common & (new.source == new.source[0]) & (np.arange(len(new)) % 4 > 0)
    assert run(base, new.take(~rest)).slices == ()


def test_rows_drawn_like_the_base_are_foreign_as_seldom_as_stated() -> None:
    found = 0
    for seed in range(4):
        of = ForeignCells(clean(seed))
        rng = np.random.default_rng(seed)
        found += sum(of.beyond_chance(rng.random(NEW) < SLICES) for _ in range(25))
    assert found <= 0.05 * 100 + 3 * np.sqrt(0.05 * 0.95 * 100)


def test_sessions_whose_rows_are_alike_count_once() -> None:
    p = np.array([0.01] * 30 + [0.5] * 9)
    alone = np.arange(39).astype(str)
    assert low_sessions(p, alone)
    assert not low_sessions(p, np.concatenate([np.full(30, "one"), alone[30:]]))


def test_sessions_are_foreign_by_chance_at_most_as_often_as_stated() -> None:
    rng = np.random.default_rng(5)
    session = np.repeat(np.arange(30), 3).astype(str)
    found = [
        low_sessions(np.where(rng.random(90) < 0.5, np.repeat(p, 3), rng.random(90)), session)
        for p in rng.random((400, 30))
    ]
    assert np.mean(found) <= 0.05


def test_nothing_is_worked_out_before_it_is_asked_for() -> None:
    of = ForeignCells(clean(1))
    assert "p" not in vars(of)
    assert of.p.shape == (NEW,)
    assert "p" in vars(of)
