"""What was approved shields itself, and little else."""

from __future__ import annotations

import numpy as np

from detectors.nulls.itemsets import Item, Itemset
from detectors.nulls.settled import COVERED, KNOWN, NEW, Settled

NULL = np.array([[0.01, 0.005], [0.02, 0.01]])
ITEMSET = Itemset((Item(0, 7.0, 7.0),), 0.9, 0.0, 5, 0.85, confident=True)
X = np.array([[7.0], [1.0], [7.0], [1.0]])
G, F = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])


def test_nothing_is_settled_before_an_approval() -> None:
    settled = Settled(NULL, 0.95)
    assert settled.ground(X, F, G).tolist() == [NEW] * 4
    assert settled.null.tolist() == NULL.tolist()


def test_an_approved_itemset_is_covered_in_its_direction_only() -> None:
    settled = Settled(NULL, 0.95)
    settled.approve((0, 1), ITEMSET)
    assert settled.ground(X, F, G).tolist() == [COVERED, KNOWN, NEW, NEW]


def test_an_approval_without_an_itemset_covers_nothing() -> None:
    settled = Settled(NULL, 0.95)
    settled.approve((0, 1), None)
    assert settled.ground(X, F, G).tolist() == [KNOWN, KNOWN, NEW, NEW]


def test_known_ground_gets_the_bound_of_its_own_rate_and_new_ground_keeps_the_null() -> None:
    settled = Settled(NULL, 0.95)
    settled.count(np.repeat([[1.0, 0.0], [0.0, 0.0]], [50, 950], axis=0))
    settled.approve((0, 1), ITEMSET)
    assert settled.null.round(4).tolist() == [[0.01, 0.005, 0.0629, 0.005], [0.02, 0.01, 0.0629, 0.01]]


def test_known_ground_never_gets_a_lower_null_than_before() -> None:
    settled = Settled(NULL, 0.95)
    settled.count(np.ones((20, 2)))
    settled.approve((0, 1), None)
    before = settled.null
    settled.count(np.zeros((5000, 2)))
    settled.approve((1, 0), None)
    assert settled.null.tolist() == before.tolist()
