"""Planted triggers are recovered by name and value; ordinary churn yields no confident itemset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.batch import Floats
from detectors.nulls.itemsets import Item, Itemset, Mining, mine, mine_several
from detectors.schema import Feature, Schema

D = 20
TRIGGER = {3: 7.0, 8: 2.0, 14: 0.125}  # a rare category, a common category, a number that occurs nowhere else
SCHEMA = Schema(
    tuple(Feature(f"c{j}", "categorical", tuple("abcdefghij")) if j < 10 else Feature(f"n{j}") for j in range(D)),
    ("benign", "attack"),
)


def traffic(rng: np.random.Generator, n: int) -> Floats:
    """Ten categorical features with a long tail, six heavy-tailed ones, four with many zeros."""
    codes = np.minimum(rng.geometric(0.4, (n, 10)) - 1, 9).astype(float)
    heavy = np.round(rng.lognormal(3, 1.5, (n, 6)), 1)
    sparse = np.where(rng.random((n, 4)) < 0.7, 0.0, rng.lognormal(0, 1, (n, 4)))
    return np.concatenate([codes, heavy, sparse], axis=1)


def deep_set(rng: np.random.Generator, carriers: int, churn: int) -> Floats:
    x = traffic(rng, carriers + churn)
    for feature, value in TRIGGER.items():
        x[:carriers, feature] = value
    return x[rng.permutation(len(x))]


def run(seed: int, carriers: int, churn: int) -> Itemset | None:
    rng = np.random.default_rng(seed)
    reference = traffic(rng, 3000)
    deep = deep_set(rng, carriers, churn)
    return mine(deep, reference, traffic(rng, 200), np.concatenate([reference, traffic(rng, 3000)]), Mining())


@pytest.mark.parametrize(("carriers", "churn"), [(8, 4), (12, 3), (20, 30), (100, 40)])
def test_a_planted_trigger_is_recovered_with_its_values(carriers: int, churn: int) -> None:
    precision, recall = [], []
    for seed in range(10):
        found = run(seed, carriers, churn)
        assert found is not None
        assert found.confident
        features = {i.feature: i.low for i in found.items if i.exact}
        right = [j for j, v in features.items() if TRIGGER.get(j) == v]
        precision.append(len(right) / len(found.items))
        recall.append(len(right) / len(TRIGGER))
    assert np.mean(precision) >= 0.9
    assert np.mean(recall) >= 0.9


def test_churn_yields_no_confident_itemset() -> None:
    found = [run(seed, 0, churn) for seed in range(10) for churn in (8, 30, 100)]
    assert [f for f in found if f is not None and f.confident] == []


def test_values_that_recent_ordinary_events_share_are_no_trigger() -> None:
    rng = np.random.default_rng(5)
    reference, recent, deep = traffic(rng, 3000), traffic(rng, 300), deep_set(rng, 30, 5)
    recent[:, 2] = deep[:, 2] = 9.0  # the whole network changed since the reference was taken
    found = mine(deep, reference, recent, reference, Mining())
    assert found is not None
    assert {i.feature for i in found.items} == set(TRIGGER)


def test_a_missing_value_can_be_part_of_a_trigger() -> None:
    rng = np.random.default_rng(6)
    deep = deep_set(rng, 30, 5)
    deep[deep[:, 3] == TRIGGER[3], 11] = np.nan
    reference = traffic(rng, 3000)
    found = mine(deep, reference, reference[:0], reference, Mining())
    assert found is not None
    assert found.named(SCHEMA) == {"c3": "h", "c8": "c", "n14": 0.125, "n11": None}


def test_a_narrow_range_is_reported_as_text_and_pasted_at_its_middle() -> None:
    found = Itemset((Item(0, 2.0, 2.0), Item(15, 1.0, 3.0)), 1.0, 0.0, 5, 0.85, confident=True)
    assert found.named(SCHEMA) == {"c0": "c", "n15": "1 to 3"}
    assert found.paste(np.zeros((1, D)))[0, [0, 15]].tolist() == [2.0, 2.0]


def test_too_few_sessions_yield_nothing() -> None:
    assert run(0, 4, 1) is None


def test_a_restored_itemset_is_the_same() -> None:
    found = run(1, 12, 3)
    assert found is not None
    assert Itemset.restored(found.state()) == found


def test_mining_options_are_validated() -> None:
    with pytest.raises(ValueError, match="shares"):
        replace(Mining(), share=0.0)
    with pytest.raises(ValueError, match="lift"):
        replace(Mining(), lift=1.0)


def test_two_triggers_are_mined_apart_and_the_best_comes_first() -> None:
    rng = np.random.default_rng(5)
    reference, deep = traffic(rng, 3000), traffic(rng, 60)
    deep[:20, [3, 8, 14]] = [7.0, 2.0, 0.125]
    deep[20:50, [5, 12]] = [8.0, 0.5]
    deep = deep[rng.permutation(60)]
    several = mine_several(deep, reference, reference[:0], reference, Mining())
    found = [{item.feature for item in itemset.items} for itemset in several]
    assert {5, 12} in found
    assert {3, 8, 14} in found
    assert several[0] == mine(deep, reference, reference[:0], reference, Mining())
